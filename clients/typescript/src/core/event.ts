// What the core tells: the application (`Event`), the owner of the link (`Command`). Never holds state of its own.

import type { Json, Patch } from '../api.ts';
import type { Attached, Body, MessageOf, Origin, Position } from '../codec/message.ts';
import type { RefusedError, ServerError } from '../error.ts';

/** Something that the application should know, in the order in which it happened. */
export type Event =
  /** `Welcome` came: this connection works. */
  | { type: 'connected'; welcome: MessageOf<'Welcome'> }
  /** The connection is gone; another attempt follows by itself at `retryAt`. */
  | { type: 'disconnected'; error: Error; retryAt: number }
  /** The server does not take the token. `Core.restart` with another one, or `Core.stop`, goes on from here. */
  | { type: 'denied'; error: ServerError }
  /** No further attempt is made. `Core.restart` tries again. */
  | { type: 'stopped'; error: Error }
  /** A heartbeat was answered: the round trip is known anew. */
  | { type: 'ponged' }
  /** The answer to `Core.request`. */
  | { type: 'answered'; request: bigint; answer: Response | Error }
  /** The server is going down; the client goes on elsewhere by itself. */
  | { type: 'draining'; at: number }
  /** The server reported something that belongs to no request. */
  | { type: 'warning'; error: Error }
  /** Something happened in a session. */
  | { type: 'session'; session: string; event: SessionEvent };

/** What was asked for with a `Request`. */
export interface Response {
  status: number;
  headers: Record<string, string>;
  body: Uint8Array;
}

/** Something that happened in one session. */
export type SessionEvent =
  /** The server's state was replaced by a snapshot. */
  | { kind: 'reset'; reason: Body<'Reset'>['reason']; at: Position; lastKept: bigint | undefined }
  /** The subscription goes on where it was after a lost connection; what was missed follows. */
  | { kind: 'resumed'; at: Position; version: bigint }
  /** One change of the server's state. */
  | {
      kind: 'changed';
      at: Position;
      patch: Patch;
      device: string;
      origin: Origin;
      own: boolean;
      time: number;
    }
  /** The session was made. */
  | { kind: 'created'; counter: bigint; at: Position }
  /**
   * An own update was applied. Comes again, with another place, when the server lost it in a crash and it was sent and
   * applied once more.
   */
  | { kind: 'accepted'; counter: bigint; at: Position; durable: boolean }
  /** An own update is on the server's disk, or it was not to be waited for. */
  | { kind: 'durable'; counter: bigint; at: Position }
  /** An own update has no effect; the optimistic document no longer contains it. */
  | { kind: 'refused'; counter: bigint; patch: Patch | undefined; error: RefusedError }
  /** Everything of the session up to here is on the server's disk. */
  | { kind: 'durable-up-to'; at: Position }
  /** Who is attached, or which device is the active one, has changed. */
  | { kind: 'presence' }
  | { kind: 'handoff-requested'; handoff: string; user: string; device: string; expires: number }
  | { kind: 'handoff-completed'; handoff: string; from: string | undefined; user: string; device: string }
  | { kind: 'access-changed'; user: string; role: Body<'AccessChanged'>['role'] }
  /** The session was deleted; `ended` follows. */
  | { kind: 'deleted' }
  /** Notices were dropped because this client was too slow; the presence follows, whole. */
  | { kind: 'notices-lagged'; missed: number }
  /**
   * The subscription is over: the server refused it or took it back. What was not answered is refused. `document` is the
   * last that there was.
   */
  | { kind: 'ended'; error: ServerError; document: Json | undefined };

/** Who is attached. */
export interface Presence {
  seq: bigint;
  devices: readonly Attached[];
  activeDevice: string | undefined;
}

/** What the owner of the link has to do. */
export type Command =
  /** Connect; then call `handleConnected`, or `handleDisconnected` when that fails. `address`: HOST:PORT; empty: the usual. */
  | { type: 'connect'; address: string }
  /** Send `last` if that is possible at once, then end the link. No `handleDisconnected` is needed. */
  | { type: 'disconnect'; code: number; text: string; last: Uint8Array };
