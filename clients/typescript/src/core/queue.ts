// The own ops of one session: those that wait, those that are sent, and those that are applied but not known durable, in
// counter order. Decides what is sent next and which ops fail together; never looks at the server's state.

import type { Json, Patch } from '../api.ts';
import type { ConflictPolicy, DevicePolicy, Position, Body as Wire } from '../codec/message.ts';
import type { Touch } from '../document/touches.ts';
import { REFUSED } from './config.ts';

export type Durability = Wire<'Update'>['durability'];

/** A change of the document. */
export interface Update {
  kind: 'update';
  patch: Patch;
  /** The patch as it is sent. */
  text: Uint8Array;
  touches: readonly Touch[];
  /** The place it was made for; `undefined` until the session, made offline, has a place. */
  base: Position | undefined;
  durability: Durability;
  onConflict: ConflictPolicy | undefined;
  lenient: boolean;
  /** The op it builds on. */
  after: bigint | undefined;
  /** Further ops it builds on. The wire names only one, so this update is held until they are answered. */
  awaits: bigint[];
  /**
   * What it was said to build on when it was last sent: what was answered by then is not named, so the server takes the
   * update whatever becomes of that since.
   */
  named: bigint | undefined;
}

/** The making of the session. */
export interface Create {
  kind: 'create';
  state: Json;
  text: Uint8Array;
  conflict: ConflictPolicy;
  devices: DevicePolicy;
}

/**
 * An update that was refused here because one it builds on was. If its counter was not answered, an empty patch goes out
 * under it: a server that told it, or an earlier one, to come again waits for it before it takes a later one.
 */
export interface GivenUp {
  kind: 'given-up';
}

export interface Op {
  readonly counter: bigint;
  body: Update | Create | GivenUp;
  /**
   * - `pending`: not answered;
   * - `answered`: applied at `version`, which the client's copy has not reached: its `Delta` is still to come;
   * - `contained`: applied at `version`, which the client's copy contains.
   */
  progress: 'pending' | 'answered' | 'contained';
  version: bigint;
  /**
   * The server of the present connection has said that it knows it. Until then a `Durable` says nothing about it: the
   * version that an earlier server named may be another one by now.
   */
  confirmed: boolean;
  /** The server's storage holds it; it leaves the queue as soon as the client's copy contains it. */
  durable: boolean;
  /** It does not apply to the newest state, so the optimistic document is shown without it. The server decides. */
  skipped: boolean;
  /** It is written down here, so that no crash of this client can make its counter name something else. */
  stored: boolean;
}

/** A new op. */
export const op = (counter: bigint, body: Op['body'], stored: boolean): Op => ({
  counter,
  body,
  progress: 'pending',
  version: 0n,
  confirmed: false,
  durable: false,
  skipped: false,
  stored,
});

export const durabilityOf = ({ body }: Op): Durability =>
  body.kind === 'create' ? 'Durable' : body.kind === 'update' ? body.durability : 'Accepted';

/** Whether the optimistic document shows it on top of the server's state. */
export const isOverlay = (op: Op): op is Op & { body: Update } =>
  op.body.kind === 'update' && op.progress !== 'contained';

const sizeOf = ({ body }: Op) => (body.kind === 'given-up' ? 0 : body.text.length);

export class Queue implements Iterable<Op> {
  /** Bytes of what waits. */
  bytes = 0;
  /** Counter of the newest op ever made. */
  last: bigint;
  /** In counter order: a map keeps the order in which its keys were added. */
  #ops = new Map<bigint, Op>();
  /** Ops below this counter are sent on the present connection. */
  #sendNext = 0n;
  /** The newest refused ops, so that nothing is built on them later. */
  readonly #refused: bigint[] = [];

  /** A queue whose counters go on after `last`. */
  constructor(last: bigint) {
    this.last = last;
  }

  get length(): number {
    return this.#ops.size;
  }

  get first(): Op | undefined {
    return this.#ops.values().next().value;
  }

  [Symbol.iterator](): Iterator<Op> {
    return this.#ops.values();
  }

  get(counter: bigint): Op | undefined {
    return this.#ops.get(counter);
  }

  /** Appends an op, whose counter is above all others. */
  push(op: Op): void {
    if (op.counter > this.last) this.last = op.counter;
    this.bytes += sizeOf(op);
    this.#ops.set(op.counter, op);
  }

  remove(counter: bigint): Op | undefined {
    const op = this.#ops.get(counter);
    if (op && this.#ops.delete(counter)) this.bytes -= sizeOf(op);
    return op;
  }

  /** This op and all after it are sent again, with their counters; without one, all. */
  rewind(counter = 0n): void {
    if (counter < this.#sendNext) this.#sendNext = counter;
  }

  /** The next op to send, in counter order; `undefined` when all are sent or the next one has to wait. */
  nextToSend(live: boolean, unconfirmed: number): Op | undefined {
    let before = 0;
    for (const op of this.#ops.values()) {
      if (op.counter < this.#sendNext) {
        before++;
        continue;
      }
      const { body } = op;
      const isReady =
        op.stored &&
        (body.kind === 'create' ||
          (live &&
            (body.kind === 'given-up' ||
              (before < unconfirmed && !body.awaits.some(on => this.isUnanswered(on))))));
      return isReady ? op : undefined;
    }
    return undefined;
  }

  sent(counter: bigint): void {
    this.#sendNext = counter + 1n;
  }

  /** Whether an op is in the queue and the server has not said what became of it. */
  isUnanswered(counter: bigint): boolean {
    return this.#ops.get(counter)?.progress === 'pending';
  }

  /**
   * The ops that a new update builds on, given which of them it depends on directly: each newest one of an unrelated
   * chain, newest first.
   */
  dependencies(direct: (update: Update) => boolean): bigint[] {
    const heads: bigint[] = [];
    /** Everything that some head already builds on, directly or not. */
    const covered = new Set<bigint>();
    for (const { counter, body } of [...this.#ops.values()].reverse()) {
      // A refused `Create` fails everything in its session by itself.
      if (body.kind !== 'update') continue;
      const isCovered = covered.has(counter);
      const isDirect = direct(body);
      if (isDirect && !isCovered) heads.push(counter);
      if (isDirect || isCovered) for (const on of buildsOn(body)) covered.add(on);
    }
    return heads;
  }

  wasRefused(counter: bigint): boolean {
    return this.#refused.includes(counter);
  }

  /** Takes out the refused op and every op that builds on it, in counter order, each with the counter it failed on. */
  refuse(counter: bigint): { op: Op; on: bigint | undefined }[] {
    const first = this.remove(counter);
    if (!first) return [];
    const failed: { op: Op; on: bigint | undefined }[] = [{ op: first, on: undefined }];
    const refused = new Set([counter]);
    for (const op of this.#ops.values()) {
      const { body } = op;
      if (op.counter < counter || body.kind !== 'update' || op.progress !== 'pending') continue;
      // What the server has applied stands, whatever it was built on; and what it was sent, but for what it was told.
      const ons = op.counter < this.#sendNext ? [body.named] : buildsOn(body);
      const on = ons.find(on => on !== undefined && refused.has(on));
      if (on === undefined) continue;
      refused.add(op.counter);
      failed.push({ op: { ...op }, on });
      this.bytes -= sizeOf(op);
      op.body = { kind: 'given-up' };
      op.skipped = false;
    }
    this.#refused.push(...refused);
    this.#refused.splice(0, this.#refused.length - REFUSED);
    return failed;
  }

  /** Takes out every op. */
  drain(): Op[] {
    const all = [...this.#ops.values()];
    this.#ops = new Map();
    this.bytes = 0;
    return all;
  }
}

const buildsOn = ({ after, awaits }: Update): bigint[] => (after === undefined ? awaits : [after, ...awaits]);
