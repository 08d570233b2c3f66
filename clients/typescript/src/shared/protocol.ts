// What a tab and the worker that holds the shared client say to each other, over a MessagePort: in order, each once. Values
// are what structured clone takes; errors are taken apart, since a clone of one keeps only its text.

import type {
  ClientEvents,
  ConnectOptions,
  CreateOptions,
  Json,
  Patch,
  Position,
  Presence,
  Status,
  Unsent,
  UpdateOptions,
} from '../api.ts';
import {
  ClosedError,
  DisconnectedError,
  FaultError,
  RefusedError,
  RequestError,
  ServerError,
} from '../error.ts';

/** How to connect, without what cannot be sent: `store` names one in IndexedDB. */
export type SharedOptions = Pick<
  ConnectOptions,
  'url' | 'servers' | 'token' | 'tokens' | 'device' | 'presence' | 'durable' | 'agent'
> & { transport?: 'auto' | 'websocket' | 'webtransport'; store?: string };

/** As `UpdateOptions`; `after` names an update of the same tab by its id. */
export type SharedUpdateOptions = Omit<UpdateOptions, 'after'> & {
  after?: 'overlapping' | 'all' | 'nothing' | number;
};

/** From a tab. `id` is the tab's own, and comes back in what answers it. */
export type Call =
  /** First. `lock` is held for as long as the tab lives. */
  | { call: 'begin'; options: SharedOptions; lock: string }
  | { call: 'enter'; session: string }
  | { call: 'create'; session: string; state: Json; options: CreateOptions }
  | { call: 'leave'; session: string }
  | { call: 'update'; session: string; id: number; operations: Patch; options: SharedUpdateOptions }
  | { call: 'resend'; session: string; id: number; counter: number }
  | { call: 'discard'; session: string; counter: number }
  | { call: 'answer'; session: string; handoff: string; accept: boolean }
  /** A method of the client that answers with a promise. */
  | { call: 'ask'; id: number; method: 'request' | 'get' | 'ping'; args: unknown[] }
  | { call: 'cancel'; id: number }
  | { call: 'authenticate'; credentials: Parameters<import('../api.ts').Client['authenticate']>[0] }
  | { call: 'reconnect' }
  | { call: 'bye' };

/** A session as the worker has it. */
export interface View {
  state: Json | undefined;
  at: Position | undefined;
  live: boolean;
  pending: number;
  presence: Presence;
  unsent: readonly Unsent[];
  error: Parts | undefined;
  /** The newest update of this tab that is in `state`, or that will never be. */
  seen: number;
}

/** To a tab. */
export type Told =
  | { told: 'status'; status: Omit<Status, 'error'> & { error?: Parts } }
  | { [Name in keyof ClientEvents]: { told: 'event'; name: Name; event: unknown } }[keyof ClientEvents]
  | { told: 'view'; session: string; view: View }
  | { told: 'change'; session: string; change: unknown }
  | { told: 'accepted' | 'durable'; id: number; counter: number; at: Position }
  | { told: 'failed'; id: number; error: Parts }
  | { told: 'answer'; id: number; value: unknown };

/** An error, taken apart. */
export interface Parts {
  name: string;
  message: string;
  fields: Record<string, unknown>;
}

export const takeApart = (error: unknown): Parts => {
  const { name = 'Error', message = String(error) } = error as Partial<Error>;
  return { name, message, fields: { ...(error as object) } };
};

const CLASSES = { ServerError, RefusedError, RequestError, DisconnectedError, ClosedError, FaultError };

export function putTogether({ name, message, fields }: Parts): Error {
  const { prototype } = CLASSES[name as keyof typeof CLASSES] ?? Error;
  return Object.assign(Object.create(prototype) as Error, { name, message, ...fields });
}
