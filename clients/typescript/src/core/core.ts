// The client without I/O: what it says, in which order, and what it makes of what it hears. Never opens a socket, never reads
// a clock, never draws a random number that was not given to it; the real client and the simulation drive the same code.
//
// How to drive it: call a `handle…` method (or one of the application's), then take `commands` and `events` until they are
// empty, hand what `transmit` gives to the link as fast as the link takes it, write down what `takeWrites` gives, and call
// `handleTimeout` at `timeout`. Times are milliseconds on any clock that never goes back.
//
// What it promises, and how:
// - No gap, no duplicate. A version that is not exactly one more than the last ends the connection; the next one resumes
//   from the cursor.
// - No update lost. Every own op stays in its session's queue until it is durable or refused. On a new connection all that
//   are left are sent again, in order, with the same counters; the server knows those it has.
// - No update dropped. What is refused because another device is active stays, as `unsent`, until the application sends it
//   again or discards it.
// - No update twice. (session, incarnation, counter) is the identity of an op. A counter is never used again, not after a
//   crash either: an op is not sent before it is written down.

import type { Json, Patch, Stream } from '../api.ts';
import { utf8 } from '../codec/bytes.ts';
import { errorName, errorNumber, isRetryable, ProtocolError } from '../codec/error.ts';
import { type ConflictPolicy, type DevicePolicy, encode, type Message } from '../codec/message.ts';
import { apply, MAX_OPERATIONS } from '../document/apply.ts';
import { overlaps, type Touch, tested } from '../document/touches.ts';
import { DisconnectedError, FaultError, RequestError, ServerError } from '../error.ts';
import { Backoff } from './backoff.ts';
import { BUSY_BASE, BUSY_CAP, type Config, MAX_CLIENT_FRAME, UPDATE_OVERHEAD } from './config.ts';
import { Connection, VERSION } from './connection.ts';
import type { Command, Event } from './event.ts';
import { type Op, op } from './queue.ts';
import { receive } from './receive.ts';
import { keyOf, meta, opEntry, parseKey, restore, sessionEntry } from './records.ts';
import { type Request, Requests } from './requests.ts';
import { Session, serverError } from './session.ts';

/** How one update is sent. */
export interface Sending {
  durability: 'Accepted' | 'Notify' | 'Durable';
  onConflict: ConflictPolicy | undefined;
  /** What it builds on: own unanswered updates that touch the same paths, all, none, or these paths' and this one. */
  after: 'overlapping' | 'all' | 'nothing' | bigint;
  lenient: boolean;
}

type Link =
  /** No link. Without `retryAt` none is wanted. */
  | { state: 'offline'; retryAt: number | undefined }
  | { state: 'connecting' }
  | { state: 'on'; connection: Connection };

export class Core {
  readonly config: Config;
  /** For the application; in order. */
  readonly events: Event[] = [];
  /** For the owner of the link; in order. */
  readonly commands: Command[] = [];

  // What `receive.ts`, the other half of this class, needs too.
  /** @internal */ link: Link;
  /** The sessions that the application has, or had and that are not done yet. */
  readonly sessions = new Map<string, Session>();
  /** @internal */ readonly asked = new Requests();
  /** @internal Whose sessions these are; `undefined` until a server has said so. */
  user: string | undefined;

  readonly #random: () => number;
  readonly #backoff: Backoff;
  #drain: { at: number; address: string } | undefined;
  /** Where the next attempt goes: the server that has what this client wants. Empty: the usual. */
  #elsewhere = '';
  /** The newest counter and what is unsent of sessions that were left: a counter is never used again. */
  readonly #left = new Map<string, Session>();
  #lastId = 0n;
  #control: Message[] = [];
  #said: Message[] = [];
  /** Sessions that may have an op to send. */
  #ready = new Set<string>();
  /** Keys of what is not written down: of new ops, which wait for it, and of all else. */
  #urgent = new Set<string>();
  #lazy = new Set<string>();

  /**
   * A core that connects as soon as `handleTimeout` is called for the first time, and goes on from the entries of a store, if
   * there are any. `random` gives numbers from 0 to below 1: for pauses before reconnecting, and nothing else.
   */
  constructor(config: Config, random: () => number, entries: ReadonlyMap<string, unknown> = new Map()) {
    const { meta, sessions } = restore(entries);
    this.config = meta ? { ...config, incarnation: meta.incarnation } : config;
    this.user = meta?.user;
    this.#random = random;
    this.#backoff = new Backoff(config.times.backoffBase, config.times.backoffCap, random);
    this.link = { state: 'offline', retryAt: 0 };
    if (config.persist && !meta) this.#urgent.add(keyOf('meta'));
    for (const [id, { last, wanted, replica, ops, unsent }] of sessions) {
      const session = this.#session(id, last);
      session.wanted = wanted;
      session.replica = replica;
      session.unsent = unsent;
      for (const op of ops) session.queue.push(op);
      session.touched();
      (wanted || ops.length ? this.sessions : this.#left).set(id, session);
    }
  }

  // For the application.

  /**
   * Makes a session, now or once connected, and subscribes to it. Updates may follow at once. The caller draws the id (128
   * random bits will do), so that a resend makes no second session. Returns the op's counter.
   */
  create(id: string, state: Json, conflict: ConflictPolicy, devices: DevicePolicy): bigint {
    if (this.sessions.has(id)) throw new RequestError('already_exists');
    const text = this.#text(state);
    const session = this.#enter(id);
    const counter = this.#push(session, { kind: 'create', state, text, conflict, devices }, state);
    return counter;
  }

  /** Subscribes to a session, now and on every later connection. `reset` tells when its state is here. */
  subscribe(id: string, now: number): void {
    this.#enter(id);
    this.ask(id, now);
  }

  /** Leaves a session once its own updates are answered. Events of it that come until then are still told. */
  unsubscribe(id: string, now: number): void {
    const session = this.sessions.get(id);
    if (!session) return;
    session.wanted = false;
    this.#dirty(this.#lazy, keyOf('session', id));
    this.tidy(session, now);
  }

  /** Changes a session's document: at once in the optimistic document, at the server when connected. Returns the counter. */
  update(id: string, patch: Patch, sending: Sending): bigint {
    const session = this.#wanted(id);
    const text = this.#text(patch);
    const { queueOps, queueBytes } = this.config.limits;
    const ops = session.queue.length + session.unsent.length;
    if (ops >= queueOps || session.queue.bytes + session.unsentBytes + text.length > queueBytes) {
      throw new RequestError('queue_full');
    }
    if (patch.length > MAX_OPERATIONS) throw new RequestError('too_large');
    const before = session.document;
    if (before === undefined) throw new RequestError('not_ready');
    const { document, touches } = attempt(() => apply(before, patch, sending.lenient));
    const [after, ...awaits] = this.#dependencies(session, patch, touches, sending.after);
    return this.#push(
      session,
      {
        ...sending,
        kind: 'update',
        patch,
        text,
        touches,
        base: session.have,
        after,
        awaits,
        named: undefined,
      },
      document,
    );
  }

  #dependencies(
    session: Session,
    patch: Patch,
    touches: readonly Touch[],
    after: Sending['after'],
  ): bigint[] {
    const { queue } = session;
    if (after === 'nothing') return [];
    if (after === 'all') return queue.dependencies(() => true);
    const newer = [...touches, ...tested(patch)];
    const on = queue.dependencies(older => overlaps(older.touches, newer));
    if (after === 'overlapping') return on;
    if (after <= 0n || after > queue.last || queue.wasRefused(after)) {
      throw new RequestError('unknown_update');
    }
    if (queue.get(after)?.body.kind === 'update' && !on.includes(after)) on.push(after);
    return on;
  }

  /** Makes an unsent update once more, for the document as it is now. Returns its new counter. */
  resend(id: string, counter: bigint): bigint {
    const session = this.#wanted(id);
    const unsent = session.unsent.find(unsent => unsent.counter === counter);
    if (!unsent) throw new RequestError('unknown_update');
    const kept = session.unsent;
    session.unsent = kept.filter(other => other !== unsent);
    try {
      const { body } = unsent;
      const made = this.update(id, body.patch, { ...body, after: 'overlapping' });
      this.#dirty(this.#urgent, keyOf('op', id, counter));
      return made;
    } catch (error) {
      session.unsent = kept;
      throw error;
    }
  }

  /** Drops an unsent update. */
  discard(id: string, counter: bigint): void {
    const session = this.sessions.get(id) ?? this.#left.get(id);
    if (!session) return;
    session.unsent = session.unsent.filter(unsent => unsent.counter !== counter);
    this.#dirty(this.#lazy, keyOf('op', id, counter));
  }

  /** Says whether a session may go to the device that asks for it (`handoff-requested`). */
  answerHandoff(handoff: string, accept: boolean): void {
    if (!this.isConnected) throw new RequestError('offline');
    this.#said.push({ type: 'HandoffAnswer', handoff, accept });
  }

  /** Asks by a route of REST, as soon as there is a connection; `answered` answers, in no order. */
  request(request: Request): bigint {
    if (this.asked.length >= this.config.limits.requests) throw new RequestError('too_many');
    this.#check(request.body);
    const id = this.#nextId();
    this.asked.push(id, request);
    this.sendRequests();
    return id;
  }

  /** Nobody waits for this request or document any more. What was sent may have its effect all the same. */
  cancel(id: bigint): void {
    this.asked.remove(id);
    this.sendRequests();
  }

  /** Whether `Welcome` came on the present connection. */
  get isConnected(): boolean {
    return this.#connection?.welcome !== undefined;
  }

  /** What the server said of itself on the present connection; and the last round trip, in milliseconds. */
  get connection(): Pick<Connection, 'welcome' | 'rtt'> | undefined {
    return this.#connection;
  }

  /** Updates that are unsent; of a session that was left too. */
  unsent(id: string): Session['unsent'] {
    return (this.sessions.get(id) ?? this.#left.get(id))?.unsent ?? [];
  }

  /** Takes another access token, for the next connection. */
  setToken(token: string): void {
    this.config.token = token;
  }

  /** Connects after `denied`, `stopped` or `close`; at once if a pause runs. */
  restart(now: number): void {
    if (this.link.state !== 'offline') return;
    this.link.retryAt = now;
    this.#backoff.reset();
  }

  /** Measures the round trip now. */
  ping(now: number): void {
    const connection = this.#connection;
    if (connection?.welcome) this.#control.push({ type: 'Ping', nonce: connection.ping(now) });
  }

  /** Ends the connection for good. The queues stay. */
  close(): void {
    if (this.link.state !== 'offline') this.hangUp(0, '');
    this.#resetLink();
    this.link = { state: 'offline', retryAt: undefined };
  }

  /** No further attempt: what waits for a connection is not to be had. */
  stop(error: Error): void {
    this.#resetLink();
    this.link = { state: 'offline', retryAt: undefined };
    this.#failRequests(this.asked.drain(), error);
    this.events.push({ type: 'stopped', error });
  }

  // For the owner of the link.

  /** A link stands: `Hello` goes out. */
  handleConnected(now: number): void {
    this.#resetLink();
    this.link = { state: 'on', connection: new Connection(now, this.config.limits.maxServerFrame) };
    const { config } = this;
    const resume: { kind: 'State'; topic: string; epoch: bigint; seq: bigint }[] = [];
    for (const session of this.sessions.values()) {
      const { have } = session;
      if (!have) continue;
      session.subscription = { state: 'resuming' };
      session.askedAt = now;
      resume.push({ kind: 'State', topic: session.id, epoch: have.epoch, seq: have.version });
    }
    this.#control.push({
      ...config,
      type: 'Hello',
      min_version: VERSION,
      max_version: VERSION,
      capabilities: 0n,
      scope: { kind: 'User', id: '' },
      resume,
      resume_notices: config.notices,
      resume_durable: config.durable,
    });
    // Requests need not wait for `Welcome`; updates wait for their session's `Resumed` or `Reset`, which says whether the
    // place that they were made for is still true.
    for (const id of this.sessions.keys()) this.ask(id, now);
  }

  /**
   * The link broke, or could not be made. `code` is the protocol's number that the server ended it with, if it did: its last
   * message may not have arrived.
   */
  handleDisconnected(now: number, code: number | undefined, reason: string): void {
    if (this.link.state === 'offline') return;
    if (code !== undefined)
      this.ended(now, new ServerError(errorName(code), code, reason, isRetryable(code)));
    else this.lost(now, new DisconnectedError(reason));
  }

  /** Bytes came, in any chunking. */
  handleBytes(now: number, bytes: Uint8Array, stream: Stream = 0): void {
    if (this.link.state !== 'on') return;
    const { connection } = this.link;
    connection.heard(now, bytes, stream);
    try {
      // A message may have ended the connection.
      while (this.#connection === connection) {
        const message = connection.next(stream);
        if (!message) return;
        receive(this, connection, now, message);
      }
    } catch (error) {
      if (!(error instanceof ProtocolError || error instanceof FaultError)) throw error;
      this.fault(now, error);
    }
  }

  /** The time of `timeout` has come. Harmless at any other time. */
  handleTimeout(now: number): void {
    if (this.#drain && this.#drain.at <= now && this.link.state === 'on') {
      this.hangUp(0, 'draining');
      this.lost(now, new DisconnectedError('draining'));
    }
    const { handshake, pong } = this.config.times;
    if (this.link.state === 'offline') {
      const { retryAt } = this.link;
      if (retryAt !== undefined && retryAt <= now) {
        this.link = { state: 'connecting' };
        this.commands.push({ type: 'connect', address: this.#drain?.address || this.#elsewhere });
        this.#drain = undefined;
        this.#elsewhere = '';
      }
    } else if (this.link.state === 'on') {
      const pulse = this.link.connection.pulse(now, handshake, pong);
      if (pulse === 'dead') {
        this.hangUp(errorNumber('timed_out'), 'silence');
        this.lost(now, new FaultError('silence'));
      } else if (pulse !== 'fine') {
        this.#control.push({ type: 'Ping', nonce: pulse });
      }
    }
    for (const session of this.sessions.values()) this.#onAlarm(now, session);
  }

  /** When `handleTimeout` is to be called; `undefined`: not before something else happens. */
  get timeout(): number | undefined {
    const { handshake, pong, answer } = this.config.times;
    const times: (number | undefined)[] = [];
    if (this.link.state === 'offline') times.push(this.link.retryAt);
    if (this.link.state === 'on') {
      times.push(this.link.connection.pulseAt(handshake, pong), this.#drain?.at);
      for (const session of this.sessions.values()) {
        times.push(session.retryAt, waits(session) ? session.askedAt + answer : undefined);
      }
    }
    const all = times.filter(time => time !== undefined);
    return all.length ? Math.min(...all) : undefined;
  }

  /**
   * The next frame to send; `undefined` when there is nothing to say. Ask for it only when the link takes it: what is not
   * asked for yet stays in the queues, where it is bounded. With `stream`: for this stream of two.
   */
  transmit(now: number, stream?: Stream): Uint8Array | undefined {
    const connection = this.#connection;
    if (!connection) return undefined;
    let message = stream === 1 ? undefined : this.#control.shift();
    if (stream !== 0) message ??= this.#said.shift() ?? this.#nextUpdate(connection);
    if (!message) return undefined;
    connection.said(now);
    return encode(message);
  }

  #nextUpdate(connection: Connection): Message | undefined {
    // The server has to say first whose connection this is: the queue may be another user's.
    if (!connection.welcome) return undefined;
    for (const id of this.#ready) {
      this.#ready.delete(id);
      const message = this.sessions.get(id)?.nextMessage(this.config.limits.unconfirmedOps);
      if (message) {
        // One op a turn, so that a session with many does not hold up the others.
        this.#ready.add(id);
        return message;
      }
    }
    return undefined;
  }

  // What is written down.

  /** Whether an update waits until it is written down. */
  get mustWrite(): boolean {
    return this.#urgent.size > 0;
  }

  /** Whether anything is not written down. */
  get hasWrites(): boolean {
    return this.mustWrite || this.#lazy.size > 0;
  }

  /**
   * What has changed since the last call, as entries of a store (`undefined`: to be removed); `undefined` when nothing has.
   * Without `all`, only what updates wait for. When all of it is written, together, call `handleStored` with it.
   */
  takeWrites(all: boolean): Map<string, unknown> | undefined {
    const keys = this.#urgent;
    this.#urgent = new Set();
    if (all) {
      for (const key of this.#lazy) keys.add(key);
      this.#lazy = new Set();
    } else {
      for (const key of keys) this.#lazy.delete(key);
    }
    if (!keys.size) return undefined;
    return new Map([...keys].map(key => [key, this.#entry(key)]));
  }

  /** What `takeWrites` gave is written down: the ops in it may be sent. */
  handleStored(written: ReadonlyMap<string, unknown>): void {
    for (const key of written.keys()) {
      const { kind, id, counter } = parseKey(key);
      const session = kind === 'op' ? this.sessions.get(id) : undefined;
      const op = session?.queue.get(counter);
      if (!session || !op) continue;
      op.stored = true;
      this.list(session);
    }
  }

  #entry(key: string): unknown {
    const { kind, id, counter } = parseKey(key);
    if (kind === 'meta') return meta(this.config.incarnation, this.user);
    const session = this.sessions.get(id) ?? this.#left.get(id);
    if (!session) return undefined;
    if (kind === 'session') return sessionEntry(session);
    return kind === 'document' ? session.replica : opEntry(session, counter);
  }

  #dirty(keys: Set<string>, key: string): void {
    if (this.config.persist) keys.add(key);
  }

  // Within, and for `receive.ts`.

  get #connection(): Connection | undefined {
    return this.link.state === 'on' ? this.link.connection : undefined;
  }

  #nextId(): bigint {
    return ++this.#lastId;
  }

  /** Whether it fits into a frame that the server takes. */
  #check(text: Uint8Array): void {
    const max = Number(this.#connection?.welcome?.max_client_frame ?? MAX_CLIENT_FRAME);
    if (text.length > max - UPDATE_OVERHEAD) throw new RequestError('too_large');
  }

  #text(value: Json | Patch): Uint8Array {
    const text = utf8(JSON.stringify(value));
    this.#check(text);
    return text;
  }

  #wanted(id: string): Session {
    const session = this.sessions.get(id);
    if (!session?.wanted) throw new RequestError('left');
    return session;
  }

  #session(id: string, last: bigint): Session {
    return new Session(
      id,
      last,
      this.config,
      event => this.events.push({ type: 'session', session: id, event }),
      counter =>
        this.#dirty(this.#lazy, counter === undefined ? keyOf('document', id) : keyOf('op', id, counter)),
    );
  }

  /** Makes sure that the session is among those that the application wants. */
  #enter(id: string): Session {
    let session = this.sessions.get(id);
    if (!session) {
      const withUnsent = [...this.#left.values()].filter(
        other => other.unsent.length && other.id !== id,
      ).length;
      const { sessions } = this.config.limits;
      if (this.sessions.size + withUnsent >= sessions) throw new RequestError('too_many');
      const left = this.#left.get(id);
      session = this.#session(id, left?.queue.last ?? 0n);
      session.unsent = left?.unsent ?? [];
      this.#left.delete(id);
      this.sessions.set(id, session);
    }
    session.wanted = true;
    this.#dirty(this.#lazy, keyOf('session', id));
    return session;
  }

  #push(session: Session, body: Op['body'], document: Json): bigint {
    const counter = session.queue.last + 1n;
    session.push(op(counter, body, !this.config.persist), document);
    this.#dirty(this.#urgent, keyOf('op', session.id, counter));
    this.#dirty(this.#urgent, keyOf('session', session.id));
    this.list(session);
    return counter;
  }

  /** Forgets a session, but not its counter, nor what is unsent. */
  leave(session: Session): void {
    this.sessions.delete(session.id);
    if (session.queue.last > 0n) {
      const left = this.#session(session.id, session.queue.last);
      left.wanted = false;
      left.unsent = session.unsent;
      this.#left.set(session.id, left);
    }
    this.#dirty(this.#lazy, keyOf('session', session.id));
    this.#dirty(this.#lazy, keyOf('document', session.id));
  }

  /** Lists a session as one that may have something to send. */
  list(session: Session): void {
    if (this.#connection) this.#ready.add(session.id);
  }

  /** Asks for a session's events, if there is a connection and the session has none. */
  ask(id: string, now: number): void {
    const session = this.sessions.get(id);
    if (!this.#connection || !session) return;
    this.list(session);
    const { state } = session.subscription;
    if (session.isUnmade || (state !== 'idle' && state !== 'leaving')) return;
    const request = this.#nextId();
    session.subscription = { state: 'asked', id: request };
    session.askedAt = now;
    this.#said.push({ ...this.config, type: 'Subscribe', id: request, session: id, have: session.have });
  }

  /** After anything happened to a session: lists it, and leaves it when nobody needs it any more. */
  tidy(session: Session, now: number): void {
    this.list(session);
    if (session.wanted || session.queue.length) return;
    const { state } = session.subscription;
    if (this.#connection && (state === 'live' || state === 'loading' || state === 'asked')) {
      const id = this.#nextId();
      session.subscription = { state: 'leaving', id };
      session.askedAt = now;
      this.#said.push({ type: 'Unsubscribe', id, session: session.id });
    } else if (!this.#connection || state === 'idle') {
      this.leave(session);
    }
    // Else its answer is awaited first.
  }

  #onAlarm(now: number, session: Session): void {
    if (session.retryAt !== undefined && session.retryAt <= now) {
      session.retryAt = undefined;
      this.ask(session.id, now);
    }
    if (this.#connection && waits(session) && session.askedAt + this.config.times.answer <= now) {
      this.fault(now, new FaultError(`${session.id}: no answer`));
    }
  }

  /** Does without the server for a while, for this session. */
  pause(now: number, session: Session, retryAfter: number | undefined): void {
    const rounds = Math.min(session.busyRounds, 16);
    // The ops behind a busy one are answered with it; together they are one round.
    if (session.retryAt === undefined) session.busyRounds++;
    const least = retryAfter ?? Math.min(BUSY_BASE * 2 ** rounds, BUSY_CAP);
    // Spread, or all that were refused together come back together.
    const at = now + least + Math.floor(this.#random() * (least / 4 + 1));
    session.retryAt = Math.max(session.retryAt ?? 0, at);
  }

  /** Says something beside the queues. */
  say(message: Message): void {
    this.#control.push(message);
  }

  sendRequests(): void {
    if (this.isConnected) this.#control.push(...this.asked.send(this.config.limits.requestsUnderWay));
  }

  /** The connection is the server's and this user's. */
  welcomed(user: string): void {
    if (this.user !== undefined && this.user !== user) {
      this.#forgetSessions(serverError('unauthenticated', 'another user'));
    }
    if (this.user !== user) {
      this.user = user;
      this.#dirty(this.#lazy, keyOf('meta'));
    }
    this.sendRequests();
    for (const session of this.sessions.values()) this.list(session);
  }

  /** Forgets everything that belongs to one user: what is not answered is refused. */
  #forgetSessions(error: ServerError): void {
    for (const session of [...this.sessions.values(), ...this.#left.values()]) {
      for (const { counter } of session.unsent) this.#dirty(this.#lazy, keyOf('op', session.id, counter));
      session.unsent = [];
    }
    for (const session of [...this.sessions.values()]) {
      session.end(error);
      this.leave(session);
    }
  }

  drainAt(now: number, after: number, window: number, address: string): void {
    const at = now + after + Math.floor(this.#random() * (window + 1));
    this.#drain = { at, address };
    this.events.push({ type: 'draining', at });
  }

  /**
   * Another server has the session. This client goes along when nothing that it wants is left here, since it has one
   * connection; else it asks again from time to time, until the session can be had here.
   */
  moved(now: number, session: Session, error: ServerError, address: string): void {
    session.beginAnew(true);
    if (address && [...this.sessions.values()].every(({ isAway }) => isAway)) {
      this.hangUp(0, error.code);
      this.#elsewhere = address;
      return this.lost(now, error);
    }
    this.pause(now, session, error.retryAfter);
    this.events.push({ type: 'warning', error });
  }

  /** The server broke the protocol: reconnect and ask again. */
  fault(now: number, error: ProtocolError | FaultError): void {
    const name = error instanceof ProtocolError ? error.name : 'unexpected_message';
    this.hangUp(errorNumber(name), error.message);
    this.lost(now, error);
  }

  /** A session's copy does not go together with what the server says. */
  doubt(session: Session): void {
    session.distrusted = true;
  }

  hangUp(code: number, text: string): void {
    this.commands.push({ type: 'disconnect', code, text, last: encode({ type: 'Close', code, text }) });
  }

  /** Forgets everything that belongs to one connection. */
  #resetLink(): void {
    this.#failRequests(this.asked.onLinkLost(), new DisconnectedError('no answer'));
    this.#control = [];
    this.#said = [];
    this.#ready = new Set();
    for (const session of [...this.sessions.values()]) {
      session.beginAnew();
      if (!session.wanted && !session.queue.length) this.leave(session);
    }
  }

  #failRequests(ids: bigint[], error: Error): void {
    for (const request of ids) this.events.push({ type: 'answered', request, answer: error });
  }

  /** The connection is gone; another attempt follows. */
  lost(now: number, error: Error, retryAfter = 0): void {
    const connection = this.#connection;
    if (connection?.welcome && now - connection.since >= this.config.times.stableAfter) this.#backoff.reset();
    this.#resetLink();
    const pause = Math.max(this.#backoff.next(), retryAfter);
    const retryAt = this.#drain ? Math.max(this.#drain.at, now) : now + pause;
    this.link = { state: 'offline', retryAt };
    this.events.push({ type: 'disconnected', error, retryAt });
  }

  /** The server does not take the token: nothing is tried until there is another. */
  #denied(error: ServerError): void {
    this.#resetLink();
    this.link = { state: 'offline', retryAt: undefined };
    this.events.push({ type: 'denied', error });
  }

  /** The server ends the connection. Only where coming back as the same client cannot help, the client stays away. */
  ended(now: number, error: ServerError): void {
    this.hangUp(0, '');
    switch (error.code) {
      case 'unauthenticated':
      case 'token_expired':
        return this.#denied(error);
      case 'unsupported_version':
      case 'replaced':
        return this.stop(error);
      default:
        return this.lost(now, error, error.retryAfter);
    }
  }
}

/** Whether a subscription's answer, or its end's, is awaited. */
const waits = ({ subscription: { state } }: Session): boolean =>
  state === 'asked' || state === 'resuming' || state === 'leaving';

function attempt<T>(apply: () => T): T {
  try {
    return apply();
  } catch (error) {
    throw new RequestError('does_not_apply', (error as Error).message);
  }
}
