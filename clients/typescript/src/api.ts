// The public interface, as types: what an application writes against. Never holds code.

import type { RefusedError } from './error.ts';

/** Any JSON value. Integers beyond ±(2^53 − 1) lose their last digits in JavaScript; keep such numbers as text. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A value that nobody may change, at every depth. It is frozen at run time too. */
export type DeepReadonly<T> = [Json] extends [T]
  ? T
  : T extends (infer Item)[]
    ? readonly DeepReadonly<Item>[]
    : T extends object
      ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
      : T;

/** One operation of a JSON Patch (RFC 6902). */
export type Operation =
  | { op: 'add' | 'replace' | 'test'; path: string; value: Json }
  | { op: 'remove'; path: string }
  | { op: 'move' | 'copy'; from: string; path: string };

/** A JSON Patch. */
export type Patch = readonly Operation[];

/** A place in a session: versions are 1, 2, 3 …; the epoch grows each time a server process takes the session. */
export interface Position {
  readonly epoch: number;
  readonly version: number;
}

/** What lets a device in, as login, registration and a completed handoff answer it. */
export interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string;
  /** Seconds that the access token is good for. */
  readonly expiresIn?: number;
  readonly user: User;
  /** The device that they are made for, if for one. */
  readonly deviceId?: string | null;
}

/** A user. */
export interface User {
  readonly id: string;
  readonly email?: string | null;
  readonly name?: string;
}

/** The ways to reach a server. */
export type TransportName = 'websocket' | 'webtransport';

/** How to connect. */
export interface ConnectOptions {
  /** Where the server is: `https://sync.example.com` (`http:`, `ws:` and `wss:` too). In a page: its own origin. */
  url?: string;
  /** Further servers that share its store, as in `url`: one that names another of them is followed there. */
  servers?: readonly string[];
  /** An access token that is not renewed. Without any, one can only connect to a server under `--open`. */
  token?: string;
  /** Tokens of a login: the access token is renewed when it has ended. */
  tokens?: Tokens;
  /** Is asked for an access token before the first connection, and when the server took one no more. */
  fetchToken?: (signal: AbortSignal) => Promise<string>;
  /** This installation's id, 1–128 bytes, the same for as long as the installation lives. */
  device: string;
  /**
   * Which transport to use. `auto` (default) races WebTransport with a head start of 200 ms against WebSocket where
   * both ends have it, and remembers what won.
   */
  transport?: 'auto' | TransportName | Transport;
  /** Where cursors and updates wait that are not durable; in memory by default. See `indexedDbStore`. */
  store?: Store;
  /** Whether who is attached and other notices are wanted. Default true. */
  presence?: boolean;
  /** Whether the server tells what is durable for every version, not for own updates only. Default false. */
  durable?: boolean;
  /** Name and version of the application, for people who read the server's log. */
  agent?: string;
  /** Ends the client, as {@link Client.close} does. */
  signal?: AbortSignal;
}

/** How the client stands to the server. The same object until something changes. */
export interface Status {
  /**
   * - `connecting`: an attempt is under way;
   * - `online`: the server has answered;
   * - `offline`: the link is gone, the next attempt is at `retryAt`;
   * - `stopped`: no further attempt, see `error`; `Client.reconnect()` tries again;
   * - `closed`: by `Client.close()`.
   */
  readonly phase: 'connecting' | 'online' | 'offline' | 'stopped' | 'closed';
  /** What the present connection runs over. */
  readonly transport?: TransportName;
  /** Who the server says that one is. */
  readonly user?: string;
  /** The device that the connection speaks for. */
  readonly device?: string;
  /** The round trip of the last heartbeat or answer, in milliseconds. */
  readonly rtt?: number;
  /** Add it to `Date.now()` for the server's clock, in milliseconds, right to about half a round trip. */
  readonly clockOffset?: number;
  /** `offline`: when the next attempt is made, as `Date.now()` counts. */
  readonly retryAt?: number;
  /** Why the last connection ended. */
  readonly error?: Error;
}

/** The client's events. */
export interface ClientEvents {
  /** The status has changed. */
  status: Status;
  /** Tokens were renewed or taken over by a handoff: keep these. */
  tokens: Tokens;
  /** This client was too slow. Of a session's notices: `Presence` follows. Of a stream: some changes were left out. */
  lagged: { session: string; what: 'notices' | 'changes'; missed: number };
  /** A session's state was replaced by a snapshot. `Lost`: after a crash; own updates are sent again by themselves. */
  reset: { session: string; reason: ResetReason; at: Position; lastKept: number | undefined };
  /** An own update was refused and rolled back. */
  conflict: { session: string; update: number; operations: Patch; error: RefusedError };
  /** Everything of the session up to here is on the server's disk. */
  durable: { session: string; at: Position };
  /** The server goes down; the client comes back by itself at `at` (as `Date.now()` counts). */
  draining: { at: number };
  /** Something the application need not act on, for its log. */
  warning: Error;
}

/** Why a session's state was replaced by a snapshot. */
export type ResetReason = 'Initial' | 'Lost' | 'TooOld' | 'Lagged' | 'UnknownEpoch';

/** Stops what it was returned for. */
export type Stop = () => void;

/** Something that can be abandoned. */
export interface Cancellable {
  signal?: AbortSignal;
}

/** A connection to a server, kept up for as long as the client lives. */
export interface Client {
  /** How the client stands to the server now. */
  readonly status: Status;
  /** Calls the listener for each event, until the returned function is called or the signal aborts. */
  on<Name extends keyof ClientEvents>(
    name: Name,
    listener: (event: ClientEvents[Name]) => void,
    options?: Cancellable,
  ): Stop;
  /** Waits until the server has answered; rejects when it never will (`stopped`, `closed`). */
  online(options?: Cancellable): Promise<void>;
  /** A session, subscribed to from now on. The same object for the same id, until it is left. */
  session<T = Json>(id: string): Session<T>;
  /** Makes a session, now or once connected; it can be used at once. Without an id, 128 random bits are drawn. */
  create<T = Json>(state: T, options?: CreateOptions): Session<T>;
  /** A session's document, once, without subscribing. */
  get<T = Json>(id: string, options?: Cancellable): Promise<Document<T>>;
  /**
   * Asks by a route of REST, over the connection: `client.request('GET', '/sessions?limit=5')`. Waits for a connection.
   * Rejects with {@link ServerError}, or {@link DisconnectedError} when the connection was lost before the answer came and
   * the request may not be sent twice.
   */
  request<T = unknown>(method: Method, path: string, options?: RequestOptions): Promise<Answer<T>>;
  /** Measures the round trip, in milliseconds; `status.rtt` has it from then on. Rejects when the connection is lost. */
  ping(options?: Cancellable): Promise<number>;
  /** Takes other tokens, or another access token, from the next connection on. */
  authenticate(credentials: string | Tokens): void;
  /** Connects now, if there is no connection. */
  reconnect(): void;
  /** Ends the connection and writes down what waits. */
  close(): Promise<void>;
}

/** The methods of {@link Client.request}. */
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** What a request takes along. */
export interface RequestOptions extends Cancellable {
  /** Becomes JSON. */
  body?: unknown;
  /** As `if-match`, `idempotency-key`, `content-type`; names in small letters. */
  headers?: Readonly<Record<string, string>>;
}

/** What a request brought. */
export interface Answer<T> {
  readonly status: number;
  /** Names in small letters. */
  readonly headers: Readonly<Record<string, string>>;
  /** `undefined` when there is none. */
  readonly body: T;
}

/** How a session is made. */
export interface CreateOptions {
  id?: string;
  /** What happens to updates that clash. Default `last_writer_wins`. */
  conflict?: 'last_writer_wins' | 'merge' | 'reject';
  /** Which devices may write. Default `many`. */
  devices?: 'many' | 'exclusive' | 'ask';
}

/** A document that was asked for once. */
export interface Document<T> {
  readonly at: Position;
  readonly state: DeepReadonly<T>;
  readonly activeDevice: string | undefined;
}

/** A session: the server's document with the own unanswered updates on top. */
export interface Session<T = Json> {
  readonly id: string;
  /** The document now; `undefined` until it is here. The same object until something changes; equal parts stay equal. */
  readonly state: DeepReadonly<T> | undefined;
  /** The version of the server's document that it stands on; 0 until it is here. */
  readonly version: number;
  /** Where that is. */
  readonly at: Position | undefined;
  /** Whether events come: the state is the newest that there is. */
  readonly live: boolean;
  /** Own updates that are not answered yet. */
  readonly pending: number;
  /** Set when the subscription is over: deleted, no member any more, refused. */
  readonly error: Error | undefined;
  /** Who is attached, and which device is the active one. The same object until it changes. */
  readonly presence: Presence;
  /** Own updates that were refused because another device is the active one. They are kept until resent or discarded. */
  readonly unsent: readonly Unsent[];
  /** Waits for the document. */
  ready(options?: Cancellable): Promise<DeepReadonly<T>>;
  /**
   * Calls the listener with the newest state after it changed: at most once an animation frame in a page, once a task
   * elsewhere, however many changes came. Once at first, if the state is here.
   */
  subscribe(listener: (state: DeepReadonly<T>, session: Session<T>) => void, options?: Cancellable): Stop;
  /** The newest states, conflated as `subscribe` does: what was not taken in time is replaced. */
  states(options?: Cancellable): AsyncIterableIterator<DeepReadonly<T>>;
  /** Every change, one by one. A reader that falls behind by more than `limit` (1,024) gets `lagged` and goes on. */
  stream(options?: StreamOptions): AsyncIterableIterator<Change>;
  /** Calls the listener for each change, as it comes. */
  onChange(listener: (change: Change) => void, options?: Cancellable): Stop;
  /** Calls the listener when `presence` changes; once at first, if it is known. */
  onPresence(listener: (presence: Presence) => void, options?: Cancellable): Stop;
  /**
   * Changes the document: at once here, at the server when connected. The recipe changes a draft; what it did is
   * recorded as a JSON Patch. When it throws, nothing is changed.
   *
   * Throws {@link RequestError} when it cannot be taken (no state yet, queue full, does not apply).
   */
  update(recipe: (draft: T) => void, options?: UpdateOptions): Update;
  /** As `update`, with the operations given. */
  patch(operations: Patch, options?: UpdateOptions): Update;
  /** Makes an unsent update once more, for the document as it is now. */
  resend(counter: number): Update;
  /** Drops an unsent update. */
  discard(counter: number): void;
  /** Moving the session to another device. */
  readonly handoff: Handoff;
  /** Leaves the session once own updates are answered. Streams and listeners end. */
  leave(): void;
}

/** How one update is sent. */
export interface UpdateOptions {
  /**
   * `notify` (default): kept until it is durable, and sent again when the server lost it in a crash. `accepted`: forgotten
   * once accepted; cheaper, and a crash may lose it. `durable`: answered only when it is durable.
   */
  durability?: 'accepted' | 'notify' | 'durable';
  /**
   * When others changed the same paths in between. `reject` (default): it is refused, since what the person saw when
   * changing it is no longer there. `session`: by the session's policy. `merge`: objects merge key by key. Never laxer than
   * the session's policy.
   */
  onConflict?: 'reject' | 'session' | 'merge';
  /** What it builds on and fails with. Default: own unanswered updates that touch the same paths. */
  after?: 'overlapping' | 'all' | 'nothing' | Update;
  /** Whether `add` makes missing parents. Default false. */
  lenient?: boolean;
}

/** An update on its way. */
export interface Update {
  /** Names it in events: 1, 2, 3 … for each session and store. Over `connectShared` 0 until the worker has taken it. */
  readonly counter: number;
  /** What it does. Empty when the recipe changed nothing; such an update is accepted and durable at once. */
  readonly operations: Patch;
  readonly phase: 'pending' | 'accepted' | 'durable' | 'refused';
  /** The place that it made. Rejects with {@link RefusedError} when it was rolled back. */
  readonly accepted: Promise<Position>;
  /** The same, when it is on the server's disk. With `durability: 'accepted'` that is not waited for. */
  readonly durable: Promise<Position>;
}

/** An own update that waits for this device to be active again. */
export interface Unsent {
  readonly counter: number;
  readonly operations: Patch;
}

/** How to read a stream. */
export interface StreamOptions extends Cancellable {
  /** How many changes may wait for the reader. Default 1,024. */
  limit?: number;
}

/** Something that happened in a session, in its order. */
export type Change =
  | {
      readonly kind: 'delta';
      readonly at: Position;
      readonly operations: Patch;
      /** The device that made it; empty for an own one. */
      readonly device: string;
      /** Whether this client made it. */
      readonly own: boolean;
      /** When, in milliseconds since 1970 by the server's clock; 0 when it is not known. For display only. */
      readonly time: number;
    }
  | { readonly kind: 'reset'; readonly at: Position; readonly reason: ResetReason }
  | {
      readonly kind: 'refused';
      readonly update: number;
      readonly operations: Patch;
      readonly error: RefusedError;
    }
  | {
      readonly kind: 'handoff-requested';
      readonly handoff: string;
      readonly user: string;
      readonly device: string;
      readonly expires: number;
    }
  | {
      readonly kind: 'handoff-completed';
      readonly handoff: string;
      readonly from: string | undefined;
      readonly user: string;
      readonly device: string;
    }
  | { readonly kind: 'access-changed'; readonly user: string; readonly role: Role | undefined }
  | { readonly kind: 'deleted' }
  | { readonly kind: 'lagged'; readonly missed: number };

/** What a user is to a session. */
export type Role = 'Viewer' | 'Editor' | 'Owner';

/** Who is attached to a session. */
export interface Presence {
  readonly devices: readonly Attached[];
  readonly activeDevice: string | undefined;
}

/** A device that is attached to a session. */
export interface Attached {
  readonly device: string;
  readonly user: string;
  readonly transport: string;
}

/** Moving a session to another device. */
export interface Handoff {
  /** Asks for a code. The other device completes it with the code, or with the token (a link, a QR code). */
  start(options?: { ttlSeconds?: number } & Cancellable): Promise<Offer>;
  /** Makes this device the active one, with another device's token. (For a device that is signed in; see `completeHandoff`.) */
  complete(token: string, fromDevice: string, options?: Cancellable): Promise<void>;
  /** Says whether the session may go to the device that asks (`handoff-requested`). Throws when offline. */
  answer(handoff: string, accept: boolean): void;
}

/** A code for another device. */
export interface Offer {
  /** For people: ten characters; case, spaces and hyphens do not count. */
  readonly code: string;
  /** For links and QR codes. */
  readonly token: string;
  /** RFC 3339, UTC. */
  readonly expiresAt: string;
  /** The link as a QR code, SVG. */
  readonly qrSvg: string;
}

/** What a device that took a session over begins with: give it to {@link ConnectOptions.tokens}. */
export interface TakenOver<T = Json> extends Tokens {
  readonly sessionId: string;
  readonly version: number;
  readonly epoch: number;
  readonly state: T;
}

/** A way to reach a server that the application brings along. Bytes in, bytes out; frames may be cut anywhere. */
export interface Transport {
  /** Called once for each attempt. Reports all that happens, asynchronously, to the handler. */
  open(target: TransportTarget, handler: LinkHandler): Link;
}

/** Where to connect. */
export interface TransportTarget {
  /** `http:` or `https:`, without a path. */
  url: URL;
}

/**
 * A stream of a link: 0 is the control stream, 1 the session stream (proto-spec/transports.md). A link with one stream has
 * everything on 0.
 */
export type Stream = 0 | 1;

/** A connection. */
export interface Link {
  /** How many streams it has; read once it stands. */
  readonly streams: 1 | 2;
  /** Bytes that were given to `send` and have not left yet. */
  readonly buffered: number;
  /** One or more whole frames. */
  send(bytes: Uint8Array, stream: Stream): void;
  /** Ends it, after what was sent. `code` is the protocol's number, 0 when nothing is wrong. No `onClose` follows. */
  close(code: number, reason: string): void;
}

/** What a link reports. */
export interface LinkHandler {
  /** It stands. */
  onOpen(transport: TransportName): void;
  onBytes(bytes: Uint8Array, stream: Stream): void;
  /** It takes more again, after `buffered` was high. */
  onDrain(): void;
  /** It is gone, or could not be made; once. `code` is the protocol's number that the server ended it with, if it did. */
  onClose(code: number | undefined, reason: string): void;
}

/**
 * Where a client keeps what has to outlive it: a map from text to values that structured clone takes. One client at a time
 * uses a store.
 */
export interface Store {
  /** Everything that is there. Called once, first. */
  load(): Promise<ReadonlyMap<string, unknown>>;
  /** Sets and (`undefined`) removes entries: all or none. Resolves when they are written. Calls do not overlap. */
  write(changes: ReadonlyMap<string, unknown>): Promise<void>;
  /** The client has ended. */
  close?(): void | Promise<void>;
}
