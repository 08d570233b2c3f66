// Signing in, by fetch: what is asked before there is a connection. Keeps nothing.

import type { Json, TakenOver, Tokens } from './api.ts';
import { problem } from './core/requests.ts';

/** Where the service is, and how to get there. */
export interface ServiceOptions {
  /** As in `ConnectOptions.url`. */
  url?: string;
  signal?: AbortSignal;
  /** In place of the global `fetch`. */
  fetch?: typeof fetch;
}

/** Who signs in. */
export interface Credentials {
  email: string;
  password: string;
  /** The installation that the tokens are for. A login of it that was there before ends. */
  deviceId?: string;
  /** Whether each renewal brings another refresh token. */
  rotateRefresh?: boolean;
}

/** `http:` or `https:`, without a path. */
export function origin(url?: string): URL {
  const given = url ?? (globalThis as { location?: { origin: string } }).location?.origin;
  if (given === undefined) throw new TypeError('`url` is needed outside of a page');
  const parsed = new URL(given);
  parsed.protocol = parsed.protocol.replace('ws', 'http');
  return new URL(parsed.origin);
}

async function post<T>(path: string, body: unknown, options: ServiceOptions = {}): Promise<T> {
  const response = await (options.fetch ?? fetch)(new URL(`/api/v1/${path}`, origin(options.url)), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!response.ok) throw problem(response.status, bytes);
  return (bytes.length ? JSON.parse(new TextDecoder().decode(bytes)) : undefined) as T;
}

/** Signs in. Rejects with `ServerError`: `invalid_credentials`, `rate_limited`, `busy`. */
export const login = (credentials: Credentials, options?: ServiceOptions): Promise<Tokens> =>
  post('auth/login', credentials, options);

/** Makes an account and signs in. Rejects with `ServerError`: `already_exists`, `invalid_field`, `rate_limited`. */
export const register = (
  account: { email: string; password: string; name?: string },
  options?: ServiceOptions,
): Promise<Tokens> => post('auth/register', account, options);

/** Renews tokens. One at a time, if the login rotates them. */
export const refresh = (refreshToken: string, options?: ServiceOptions): Promise<Tokens> =>
  post('auth/refresh', { refreshToken }, options);

/** Ends the login and every connection of it. */
export const logout = (refreshToken: string, options?: ServiceOptions): Promise<void> =>
  post('auth/logout', { refreshToken }, options);

/** Takes a session over with another device's code or token: signs this device in as who offered it. */
export const completeHandoff = <T = Json>(
  offer: ({ code: string } | { token: string }) & { deviceId: string },
  options?: ServiceOptions,
): Promise<TakenOver<T>> => post('handoff/complete', offer, options);
