// What is asked by fetch, since there is no connection yet. Keeps nothing.

import type { Tokens } from './api.ts';
import { problem } from './core/requests.ts';

/** Where the service is, and how to get there. */
export interface ServiceOptions {
  /** As in `ConnectOptions.url`. */
  url?: string;
  signal?: AbortSignal;
}

/** `http:` or `https:`, without a path. */
export function origin(url?: string): URL {
  const given = url ?? (globalThis as { location?: { origin: string } }).location?.origin;
  if (given === undefined) throw new TypeError('no url');
  const parsed = new URL(given);
  parsed.protocol = parsed.protocol.replace('ws', 'http');
  return new URL(parsed.origin);
}

/** Asks by a route of REST that needs no token. */
export async function post<T>(path: string, body: unknown, options: ServiceOptions = {}): Promise<T> {
  const response = await fetch(new URL(`/api/v1/${path}`, origin(options.url)), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: options.signal ?? null,
  });
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!response.ok) throw problem(response.status, bytes);
  return (bytes.length ? JSON.parse(new TextDecoder().decode(bytes)) : undefined) as T;
}

/** Renews tokens. One at a time, if the login rotates them. */
export const refresh = (refreshToken: string, options?: ServiceOptions): Promise<Tokens> =>
  post('auth/refresh', { refreshToken }, options);
