// What the admin listener tells (server/src/admin/console), and what it can be asked to do. Keeps nothing but the
// operator's token, for as long as the page is open.

/** A shard's counts since the start. */
export interface Shard {
  readonly connections: number;
  readonly busyUs: number;
  readonly received: number;
  readonly events: number;
  readonly deliveries: number;
  readonly sends: number;
  readonly sentBytes: number;
  readonly slow: number;
  readonly accepted: number;
}

export interface Overview {
  readonly about: {
    readonly version: string;
    readonly listen: string;
    readonly epoch: string;
    readonly storage: string;
    readonly open: boolean;
  };
  readonly mayAct: boolean;
  readonly complaints: readonly string[];
  readonly warnings: readonly string[];
  readonly draining: boolean;
  readonly poisoned: boolean;
  readonly sessions: number;
  readonly uncommitted: number;
  readonly oldestUncommittedMs: number;
  readonly storage: {
    readonly commits: number;
    readonly syncs: number;
    readonly logBytes: number;
    readonly logBacklog: number;
  };
  readonly process: {
    readonly residentBytes: number;
    readonly cpuSeconds: number;
    readonly openFiles: number;
  } | null;
  readonly transports: readonly {
    readonly transport: string;
    readonly open: number;
    readonly opened: number;
  }[];
  readonly shards: readonly Shard[];
  readonly bucketEndsUs: readonly number[];
  readonly commitLatency: readonly number[];
  readonly requestLatency: readonly number[];
}

export interface Connection {
  readonly id: string;
  readonly transport: string;
  readonly scope: string;
  readonly user: string;
  readonly device: string;
  readonly peer: string;
  readonly sessions: readonly string[];
  readonly lagEvents: number;
  readonly lagBytes: number;
  readonly waitingBytes: number;
  readonly blocked: boolean;
  readonly rttMs: number | null;
  readonly sent: number;
  readonly lost: number;
  readonly socketBytes: number;
  readonly why: readonly string[];
}

export interface Connections {
  readonly matching: number;
  readonly counts: readonly { readonly transport: string; readonly scope: string; readonly count: number }[];
  readonly shards: readonly {
    readonly shard: number;
    readonly connections: number;
    readonly blocked: number;
    readonly behind: number;
    readonly inbox: number;
    readonly ringBytes: number;
    readonly cutBytes: number;
  }[];
  readonly connections: readonly Connection[];
}

export interface Sessions {
  readonly matching: number;
  readonly sessions: readonly {
    readonly id: string;
    readonly version: number;
    readonly epoch: string;
    readonly bytes: number;
    readonly subscribers: number;
  }[];
}

export interface Profile {
  readonly seconds: number;
  readonly rate: number;
  readonly samples: number;
  readonly stacks: readonly { readonly frames: readonly string[]; readonly count: number }[];
}

/** The server refused, in its words. */
export class Refused extends Error {}

async function ask<Answer>(path: string, init: RequestInit = {}): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(`/api${path}`, { cache: 'no-store', credentials: 'omit', ...init });
  } catch {
    throw new Refused('The server cannot be reached.');
  }
  const text = await response.text();
  const json: unknown = text === '' ? undefined : JSON.parse(text);
  if (response.ok) return json as Answer;
  const said = (json as { error?: unknown } | undefined)?.error;
  throw new Refused(typeof said === 'string' ? said : `The server answered ${response.status}.`);
}

const query = (search: string) => `?${new URLSearchParams({ search })}`;

export const overview = (signal: AbortSignal) => ask<Overview>('/overview', { signal });
export const connections = (search: string, signal: AbortSignal) =>
  ask<Connections>(`/connections${query(search)}`, { signal });
export const sessions = (search: string, signal: AbortSignal) =>
  ask<Sessions>(`/sessions${query(search)}`, { signal });

const act = <Answer>(path: string, token: string) =>
  ask<Answer>(path, { method: 'POST', headers: { authorization: `Bearer ${token}` } });

export const disconnect = (id: string, token: string) => act<void>(`/connections/${id}/disconnect`, token);
export const drain = (token: string) => act<void>('/drain', token);
export const profile = (seconds: number, token: string) => act<Profile>(`/profile?seconds=${seconds}`, token);
