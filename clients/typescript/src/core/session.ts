// One session as the client sees it: the server's state at a place, the own ops on top, the subscription that brings the
// rest. Never sends, never waits: the core asks it what to send and tells it what came.

import type { Json, Patch } from '../api.ts';
import { text as readText, utf8 } from '../codec/bytes.ts';
import { errorNumber } from '../codec/error.ts';
import type { Attached, Body, Message, Position } from '../codec/message.ts';
import { apply, checkPatch } from '../document/apply.ts';
import { equal, parseJson } from '../document/value.ts';
import { FaultError, RefusedError, ServerError } from '../error.ts';
import { Assembly } from './assembly.ts';
import type { Config } from './config.ts';
import type { Presence, SessionEvent } from './event.ts';
import { durabilityOf, isOverlay, type Op, Queue, type Update } from './queue.ts';

/** Where the subscription stands on the present connection. With `id`: the request that it waits for. */
export type Subscription =
  | { state: 'idle' | 'resuming' | 'loading' | 'live'; id?: undefined }
  | { state: 'asked' | 'leaving'; id: bigint };

/** The server's state. */
export interface Replica {
  document: Json;
  at: Position;
}

/** The client's copy does not go together with what the server says: it is fetched anew. */
export class Divergence extends FaultError {}

/** The messages about one session, each with the method that takes it. */
type Handlers = { [N in SessionMessage as `on${N}`]: (message: Body<N>) => void };
export type SessionMessage =
  | 'Accepted'
  | 'AccessChanged'
  | 'Conflict'
  | 'Created'
  | 'Delta'
  | 'DeviceJoined'
  | 'DeviceLeft'
  | 'Durable'
  | 'HandoffCompleted'
  | 'HandoffRequested'
  | 'Lagged'
  | 'Presence'
  | 'Reset'
  | 'Resumed'
  | 'SnapshotBegin'
  | 'SnapshotEnd'
  | 'SnapshotPart';

const EMPTY_PATCH = utf8('[]');

/** An own update that was refused because another device is the active one. */
export interface Unsent {
  counter: bigint;
  body: Update;
}

export class Session implements Handlers {
  readonly id: string;
  subscription: Subscription = { state: 'idle' };
  /** When the subscription was asked for, or its end. */
  askedAt = 0;
  /** The application wants it; else it is left as soon as its queue is empty. */
  wanted = true;
  replica: Replica | undefined;
  /** The replica proved wrong: the next subscription asks for a snapshot. */
  distrusted = false;
  readonly queue: Queue;
  /** Own updates that another device's being active kept from being applied; in counter order. */
  unsent: Unsent[] = [];
  /** Another server has it, as this connection's said last. */
  isAway = false;
  /** Nothing is sent before this time: the server was busy. */
  retryAt: number | undefined;
  /** Busy answers in a row. */
  busyRounds = 0;
  presence: Presence = { seq: 0n, devices: [], activeDevice: undefined };
  /** Grows whenever the document may have changed. */
  revision = 0;
  readonly #config: Config;
  #view: Json | undefined;
  #isStale = true;
  #loading: { assembly: Assembly; reason: Body<'Reset'>['reason']; lastKept: bigint | undefined } | undefined;
  readonly #tell: (event: SessionEvent) => void;
  /** Told which op's record, or (without one) which document, is another than the one that was written down. */
  readonly #touch: (counter?: bigint) => void;

  constructor(
    id: string,
    last: bigint,
    config: Config,
    tell: (event: SessionEvent) => void,
    touch: (counter?: bigint) => void,
  ) {
    this.id = id;
    this.queue = new Queue(last);
    this.#config = config;
    this.#tell = tell;
    this.#touch = touch;
  }

  /** The optimistic document; `undefined` before the first state. */
  get document(): Json | undefined {
    if (this.#isStale) {
      this.#isStale = false;
      let document = this.#baseDocument;
      for (const op of this.queue) {
        if (document === undefined) break;
        if (!isOverlay(op)) continue;
        try {
          document = apply(document, op.body.patch, op.body.lenient).document;
          op.skipped = false;
        } catch {
          op.skipped = true;
        }
      }
      this.#view = document;
    }
    return this.#view;
  }

  /** The server's state, or the first one of a session that is not made yet. */
  get #baseDocument(): Json | undefined {
    if (this.replica) return this.replica.document;
    for (const { body } of this.queue) if (body.kind === 'create') return body.state;
    return undefined;
  }

  touched(): void {
    this.#isStale = true;
    this.revision++;
  }

  /** Adds an op that `document` (the view with it) already shows. */
  push(op: Op, document: Json): void {
    this.queue.push(op);
    this.#view = document;
    this.#isStale = false;
    this.revision++;
  }

  /** The client's place, if its copy is trusted. */
  get have(): Position | undefined {
    return this.distrusted ? undefined : this.replica?.at;
  }

  /** Whether the session waits to be made, so that there is nothing to subscribe to. */
  get isUnmade(): boolean {
    return this.queue.first?.body.kind === 'create';
  }

  get unsentBytes(): number {
    return this.unsent.reduce((sum, { body }) => sum + body.text.length, 0);
  }

  /**
   * The connection is gone, or (`isAway`) another server has the session: everything unconfirmed is sent again, in order,
   * with the same counters, once events come again.
   */
  beginAnew(isAway = false): void {
    this.isAway = isAway;
    this.subscription = { state: 'idle' };
    this.#loading = undefined;
    this.retryAt = undefined;
    for (const op of this.queue) {
      op.confirmed = false;
      // The version that the answer named may be lost by now, without this client's cursor being so.
      if (op.progress === 'answered') this.#unanswer(op);
    }
    this.queue.rewind();
  }

  #unanswer(op: Op): void {
    op.progress = 'pending';
    op.durable = false;
    this.#touch(op.counter);
  }

  /** The next op to send, as a message. */
  nextMessage(unconfirmed: number): Message | undefined {
    if (this.retryAt !== undefined) return undefined;
    const op = this.queue.nextToSend(this.subscription.state === 'live', unconfirmed);
    if (!op) return undefined;
    const { counter, body } = op;
    const session = this.id;
    let message: Message;
    if (body.kind === 'create') {
      const { text: state, conflict, devices } = body;
      message = { type: 'Create', counter, session, state, conflict, devices };
    } else {
      const isUpdate = body.kind === 'update';
      const base = (isUpdate && body.base) || this.have;
      if (!base) return undefined;
      // One that was answered was applied: naming it would only ask the server to remember it for longer than it promises.
      const after =
        isUpdate && body.after !== undefined && this.queue.isUnanswered(body.after) ? body.after : undefined;
      message = {
        type: 'Update',
        counter,
        session,
        base,
        operations: isUpdate ? body.text : EMPTY_PATCH,
        durability: durabilityOf(op),
        on_conflict: isUpdate ? body.onConflict : undefined,
        after,
        lenient: isUpdate && body.lenient,
      };
      if (isUpdate) body.named = after;
    }
    this.queue.sent(counter);
    return message;
  }

  // What comes from the server, in its order.

  onResumed({ id, epoch, after, version }: Body<'Resumed'>): void {
    if (!this.#answers(id)) return;
    const replica = this.distrusted ? undefined : this.replica;
    if (!replica || after !== replica.at.version) throw this.#gap(replica?.at.version ?? 0n, after + 1n);
    // The server takes the client's place for one of this epoch's line.
    replica.at = { epoch: max(replica.at.epoch, epoch), version: replica.at.version };
    this.isAway = false;
    this.subscription = { state: 'live' };
    this.#touch();
    this.#tell({ kind: 'resumed', at: replica.at, version });
  }

  onReset(reset: Body<'Reset'>): void {
    const { state } = this.subscription;
    const byItself = reset.id === undefined && (state === 'live' || state === 'loading');
    if (!byItself && !this.#answers(reset.id)) return;
    if (reset.state) return this.#load(reset.at, reset.state, reset.reason, reset.last_kept);
    this.subscription = { state: 'loading' };
    const assembly = new Assembly(reset.at, this.#config.limits.maxDocument);
    this.#loading = { assembly, reason: reset.reason, lastKept: reset.last_kept };
  }

  /** Whether an answer with this id is the one that is waited for. Others belong to an earlier subscription. */
  #answers(id: bigint | undefined): boolean {
    const { state, id: asked } = this.subscription;
    return state === 'asked' ? id === asked : state === 'resuming' && id === undefined;
  }

  onSnapshotBegin({ at, size }: Body<'SnapshotBegin'>): void {
    this.#loading?.assembly.begin(at, size);
  }

  onSnapshotPart({ offset, bytes }: Body<'SnapshotPart'>): void {
    this.#loading?.assembly.part(offset, bytes);
  }

  onSnapshotEnd({ checksum }: Body<'SnapshotEnd'>): void {
    const loading = this.#loading;
    if (!loading) return;
    this.#loading = undefined;
    this.#load(loading.assembly.at, loading.assembly.end(checksum), loading.reason, loading.lastKept);
  }

  /** Replaces the server's state, and works out which own ops the new one contains. */
  #load(at: Position, text: Uint8Array, reason: Body<'Reset'>['reason'], lastKept: bigint | undefined): void {
    const document = this.#parse(text, at.version);
    // What the server kept of the line of versions that the client knew.
    const kept = reason === 'Lost' ? (lastKept ?? 0n) : reason === 'UnknownEpoch' ? 0n : at.version;
    if (reason === 'UnknownEpoch') this.#forgetConfirmed();
    const knownEpoch = this.replica?.at.epoch ?? at.epoch;
    for (const op of this.queue) {
      if (op.progress !== 'pending' && op.version > kept) this.#unanswer(op);
      const { body } = op;
      if (reason === 'Lost' && body.kind === 'update' && body.base && body.base.version > kept) {
        // Made for a state that the server no longer knows: what both know is the best base that is left, and the server
        // checks everything since.
        body.base = lastKept === undefined ? at : { epoch: knownEpoch, version: kept };
        this.#touch(op.counter);
      }
    }
    this.replica = { document, at };
    this.distrusted = false;
    this.isAway = false;
    this.subscription = { state: 'live' };
    this.#loading = undefined;
    this.touched();
    this.#touch();
    // In this connection too: an answer that was on its way may have been conflated away with the events.
    this.queue.rewind();
    this.#tell({ kind: 'reset', reason, at, lastKept });
    this.#settle();
  }

  /** The session was deleted and made again: what the old one had confirmed went with it. */
  #forgetConfirmed(): void {
    const error = new RefusedError(serverError('not_found', 'made again'));
    for (const op of [...this.queue]) {
      if (op.progress === 'pending') continue;
      this.#remove(op.counter);
      this.#tell({ kind: 'refused', counter: op.counter, patch: patchOf(op), error });
    }
  }

  #remove(counter: bigint): void {
    this.queue.remove(counter);
    this.#touch(counter);
  }

  onDelta({ at, operations, device, origin, time_ms }: Body<'Delta'>): void {
    switch (this.subscription.state) {
      case 'live':
        break;
      case 'resuming':
      case 'loading':
        throw this.#gap(0n, at.version);
      default:
        // Left over from an earlier subscription of this connection.
        return;
    }
    const patch = this.#parsePatch(operations, at.version);
    const own = origin.incarnation === this.#config.incarnation;
    this.#advance(at, patch, own ? origin.counter : undefined);
    this.#tell({ kind: 'changed', at, patch, device, origin, own, time: Number(time_ms) });
    if (own) this.#contain(origin.counter, at.version);
    this.#settle();
  }

  /** Takes the server's state from one version to the next. */
  #advance(at: Position, patch: Patch, own: bigint | undefined): void {
    const { replica } = this;
    const have = replica?.at.version ?? 0n;
    if (!replica || at.version !== have + 1n) throw this.#gap(have, at.version);
    try {
      // Lenient, because the writer may have asked for it: where every parent is there, it is the same as strict.
      replica.document = apply(replica.document, patch, true).document;
    } catch (error) {
      throw this.#diverged(at.version, error);
    }
    replica.at = { epoch: max(replica.at.epoch, at.epoch), version: at.version };
    this.#touch();
    // The first op of the overlay, applied as it was sent: the optimistic document is the same before and after.
    for (const op of this.queue) {
      if (!isOverlay(op)) continue;
      const isSame =
        op.counter === own &&
        !op.skipped &&
        (op.body.patch === patch || equal(op.body.patch as never, patch as never));
      if (isSame) return;
      break;
    }
    this.touched();
  }

  onAccepted({ counter, at, durable, operations, changed }: Body<'Accepted'>): void {
    this.busyRounds = 0;
    const op = this.queue.get(counter);
    if (!op) return;
    const { body } = op;
    if (body.kind === 'given-up' && !changed) return this.#remove(counter);
    const isWithheld = durabilityOf(op) === 'Durable';
    const have = this.replica?.at.version ?? 0n;
    if (changed && !isWithheld && this.subscription.state === 'live' && at.version > have) {
      const patch = operations ? this.#parsePatch(operations, at.version) : patchOf(op);
      if (!patch) return;
      this.#advance(at, patch, counter);
      const origin = { incarnation: this.#config.incarnation, counter };
      this.#tell({ kind: 'changed', at, patch, device: '', origin, own: true, time: 0 });
    }
    op.confirmed = true;
    op.durable ||= durable;
    if (at.version <= (this.replica?.at.version ?? 0n)) {
      this.#contain(counter, at.version);
    } else if (op.progress === 'pending') {
      // Its `Delta` is still on its way (the subscription is catching up, or is not there).
      op.progress = 'answered';
      op.version = at.version;
      this.#touch(counter);
      this.#tell({ kind: 'accepted', counter, at, durable: op.durable });
    }
    this.#settle();
  }

  /** The replica contains this op from `version` on. */
  #contain(counter: bigint, version: bigint): void {
    const op = this.queue.get(counter);
    if (!op) return;
    const isTold = op.progress !== 'pending' && op.version === version;
    const wasOverlay = isOverlay(op);
    op.progress = 'contained';
    op.version = version;
    op.confirmed = true;
    this.#touch(counter);
    if (!isTold) this.#tell({ kind: 'accepted', counter, at: this.#place(version), durable: op.durable });
    // `advance` left the view alone only where this op's leaving the overlay changes nothing.
    if (wasOverlay && op.skipped) this.touched();
  }

  /** Moves ops on whose `Delta` has come, and lets go of those that need nothing more. */
  #settle(): void {
    const have = this.replica?.at.version;
    if (have === undefined) return;
    for (const op of [...this.queue]) {
      if (op.progress === 'answered' && op.version <= have) {
        op.progress = 'contained';
        this.#touch(op.counter);
        this.touched();
      }
      if (op.progress === 'contained' && (op.durable || durabilityOf(op) === 'Accepted')) {
        this.#remove(op.counter);
        this.#tell({ kind: 'durable', counter: op.counter, at: this.#place(op.version) });
      }
    }
  }

  #place(version: bigint): Position {
    return { epoch: this.replica?.at.epoch ?? 0n, version };
  }

  onDurable({ at }: Body<'Durable'>): void {
    for (const op of this.queue) {
      if (op.confirmed && op.progress !== 'pending' && op.version <= at.version) op.durable = true;
    }
    this.#tell({ kind: 'durable-up-to', at });
    this.#settle();
  }

  onCreated({ counter, epoch, version }: Body<'Created'>): void {
    const body = this.queue.get(counter)?.body;
    if (body?.kind !== 'create') return;
    const at = { epoch, version };
    if (version === 1n && !this.replica) {
      this.replica = { document: body.state, at };
      this.#touch();
    }
    this.#remove(counter);
    for (const op of this.queue) {
      if (op.body.kind === 'update' && !op.body.base) {
        op.body.base = at;
        this.#touch(op.counter);
      }
    }
    this.touched();
    this.#tell({ kind: 'created', counter, at });
    // A session is durable before its making is answered.
    this.#tell({ kind: 'durable', counter, at });
  }

  onConflict({ counter, paths }: Body<'Conflict'>): void {
    this.busyRounds = 0;
    this.refuse(counter, new RefusedError(serverError('conflict'), paths));
  }

  /** An own op is refused for good, and with it what builds on it. */
  refuse(counter: bigint, error: RefusedError): void {
    const refused = this.queue.get(counter);
    if (!refused) return;
    if (refused.progress !== 'pending' && error.code === 'op_expired') {
      // It was applied, and so long ago that its answer is gone: then it is durable as well.
      refused.durable = true;
      return this.#settle();
    }
    const failed =
      refused.body.kind === 'create'
        ? // Nothing in a session that is not made can be done.
          this.queue.drain().map(op => ({ op, on: op.counter === counter ? undefined : counter }))
        : this.queue.refuse(counter);
    this.touched();
    for (const { op, on } of failed) {
      this.#touch(op.counter);
      // It was told when it was given up.
      if (op.body.kind === 'given-up') continue;
      if (error.code === 'not_active') this.#keep(op);
      const why =
        on === undefined
          ? error
          : new RefusedError(serverError('dependency_refused', error.message), [], Number(on));
      this.#tell({ kind: 'refused', counter: op.counter, patch: patchOf(op), error: why });
    }
  }

  /** Keeps an update that is fenced until the application sends or discards it. */
  #keep({ counter, body }: Op): void {
    if (body.kind !== 'update') return;
    this.unsent.push({ counter, body });
    this.unsent.sort((a, b) => (a.counter < b.counter ? -1 : 1));
  }

  /** The subscription is over; nothing of the queue can be answered any more. */
  end(error: ServerError): void {
    for (const op of this.queue.drain()) {
      this.#touch(op.counter);
      if (op.body.kind === 'given-up') continue;
      const refusal = new RefusedError(error);
      this.#tell({ kind: 'refused', counter: op.counter, patch: patchOf(op), error: refusal });
    }
    this.touched();
    this.#tell({ kind: 'ended', error, document: this.document });
  }

  // Notices.

  onPresence({ seq, devices, active_device }: Body<'Presence'>): void {
    this.#present({ seq, devices, activeDevice: active_device });
  }

  onDeviceJoined({ seq, device }: Body<'DeviceJoined'>): void {
    if (seq > this.presence.seq) {
      this.#present({ ...this.presence, seq, devices: [...this.#without(device), device] });
    }
  }

  onDeviceLeft({ seq, device, user }: Body<'DeviceLeft'>): void {
    if (seq > this.presence.seq) {
      this.#present({ ...this.presence, seq, devices: this.#without({ device, user }) });
    }
  }

  onHandoffRequested({ seq, handoff, user, device, expires_ms }: Body<'HandoffRequested'>): void {
    // Told again, with its place, to who comes while it waits for an answer: news all the same.
    this.presence = { ...this.presence, seq: max(this.presence.seq, seq) };
    this.#tell({ kind: 'handoff-requested', handoff, user, device, expires: Number(expires_ms) });
  }

  onHandoffCompleted({ seq, handoff, from, user, device }: Body<'HandoffCompleted'>): void {
    if (seq <= this.presence.seq) return;
    this.#present({ ...this.presence, seq, activeDevice: device });
    this.#tell({ kind: 'handoff-completed', handoff, from, user, device });
  }

  onAccessChanged({ seq, user, role }: Body<'AccessChanged'>): void {
    this.presence = { ...this.presence, seq: max(this.presence.seq, seq) };
    this.#tell({ kind: 'access-changed', user, role });
  }

  onLagged({ from, to }: Body<'Lagged'>): void {
    this.#tell({ kind: 'notices-lagged', missed: Number(to - from) + 1 });
    if (this.subscription.state === 'live') this.subscription = { state: 'idle' };
  }

  #without({ device, user }: Pick<Attached, 'device' | 'user'>): Attached[] {
    return this.presence.devices.filter(other => other.device !== device || other.user !== user);
  }

  #present(presence: Presence): void {
    this.presence = presence;
    this.#tell({ kind: 'presence' });
  }

  #parse(text: Uint8Array, version: bigint): Json {
    try {
      return parseJson(readText(text));
    } catch (error) {
      throw this.#diverged(version, error);
    }
  }

  #parsePatch(text: Uint8Array, version: bigint): Patch {
    try {
      return checkPatch(parseJson(readText(text)));
    } catch (error) {
      throw this.#diverged(version, error);
    }
  }

  #gap(have: bigint, got: bigint): Divergence {
    return new Divergence(`${this.id}: ${got} after ${have}`);
  }

  #diverged(version: bigint, why: unknown): Divergence {
    return new Divergence(`${this.id}: ${version}: ${why}`);
  }
}

export const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);

const patchOf = ({ body }: Op): Patch | undefined => (body.kind === 'update' ? body.patch : undefined);

/** An error of the registry that this client says itself. */
export const serverError = (code: string, text = ''): ServerError =>
  new ServerError(code, errorNumber(code), text);
