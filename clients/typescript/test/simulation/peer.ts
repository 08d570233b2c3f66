// One client: the real core, a store that writes when the simulation says so, and what it was told. Every event is held
// against what it was told before.

import type { Patch } from '../../src/api.ts';
import { ProtocolError } from '../../src/codec/error.ts';
import { config } from '../../src/core/config.ts';
import { Core, type Sending } from '../../src/core/core.ts';
import type { SessionEvent } from '../../src/core/event.ts';
import { FaultError, RequestError } from '../../src/error.ts';
import type { Random } from './random.ts';

/** How far an own update has come, as its application knows. */
export type Fate = 'open' | 'accepted' | 'durable' | 'refused';

export interface Made {
  /** Its mark in the document; 0 for one that leaves none. */
  mark: number;
  fate: Fate;
  durability: Sending['durability'];
  /** It was written down before the process ended, or the process did not end. */
  stored: boolean;
}

/** What a client knows of a session. */
interface Known {
  /** The version that the events told last. */
  have: bigint | undefined;
  made: Map<bigint, Made>;
}

/** A deliberate mistake, to see that the simulation notices. */
export type Mistake = 'resends under a new counter' | 'sends before it is written down';

export class Peer {
  readonly name: number;
  core: Core;
  /** The name of its link. */
  link: string | undefined;
  /** It wants a link, at this time. */
  connectAt: number | undefined;
  asleepUntil = 0;
  readonly known = new Map<string, Known>();
  readonly seen = new Set<string>();
  readonly #random: Random;
  /** Whether it writes down what it does; else its process never dies. */
  readonly persists: boolean;
  /** What is written down, and what is being written. */
  #disk = new Map<string, unknown>();
  #writing: Map<string, unknown> | undefined;
  #marks = 0;

  constructor(name: number, random: Random, now: number) {
    this.name = name;
    this.#random = random;
    this.persists = !random.once(3);
    this.core = this.#begin(BigInt(1 + name));
    this.core.restart(now);
  }

  #begin(incarnation: bigint): Core {
    const random = this.#random;
    const settings = {
      ...config(`device-${this.name}`, incarnation),
      token: 'person',
      durable: random.once(2),
      notices: random.once(2),
      persist: this.persists,
      times: {
        backoffBase: 10,
        backoffCap: 200,
        stableAfter: 300,
        handshake: 1_000,
        answer: 2_000,
        pong: 300,
      },
    };
    return new Core(settings, random.next, structuredClone(this.#disk));
  }

  fail(session: string, what: string): never {
    throw new Error(`client ${this.name} in ${session}: ${what}`);
  }

  // What the application does.

  subscribe(session: string, now: number): void {
    this.core.subscribe(session, now);
    this.#of(session);
  }

  #of(session: string): Known {
    const known = this.known.get(session) ?? { have: undefined, made: new Map() };
    this.known.set(session, known);
    return known;
  }

  create(session: string, state: never, policy: 'LastWriterWins' | 'Merge' | 'Reject'): void {
    const counter = this.core.create(session, state, policy, 'Many');
    this.#of(session).made.set(counter, { mark: 0, fate: 'open', durability: 'Durable', stored: false });
  }

  /** Changes the document somehow; every update that counts leaves its mark in the client's own log. */
  edit(session: string): void {
    const random = this.#random;
    const known = this.known.get(session);
    if (!known) return;
    const mark = this.#marks + 1;
    const key = random.below(4);
    const change: Patch = random.pick<Patch>([
      [],
      [],
      [{ op: 'add', path: `/k/${key}`, value: `${this.name}.${mark}` }],
      [{ op: 'add', path: '/all/-', value: `${this.name}.${mark}` }],
      [
        { op: 'add', path: '/array/0', value: mark },
        { op: 'remove', path: '/array/4' },
      ],
      [{ op: 'replace', path: '/k', value: { merged: mark } }],
      [{ op: 'move', from: `/k/${key}`, path: `/k/${random.below(4)}` }],
      [{ op: 'remove', path: `/k/${key}` }],
      [{ op: 'add', path: '/big', value: random.once(8) ? 'x'.repeat(70_000) : '' }],
      [{ op: 'test', path: '/k', value: {} }],
    ]);
    const patch: Patch = [...change, { op: 'add', path: `/log/${this.name}/-`, value: mark }];
    const sending: Sending = {
      durability: random.pick(['Accepted', 'Notify', 'Durable'] as const),
      onConflict: random.pick(['Reject', 'Merge', undefined] as const),
      after: random.pick(['overlapping', 'overlapping', 'all', 'nothing'] as const),
      lenient: random.once(2),
    };
    try {
      const counter = this.core.update(session, patch, sending);
      if (known.made.has(counter)) this.fail(session, `the counter ${counter} is used twice`);
      known.made.set(counter, {
        mark,
        fate: 'open',
        durability: sending.durability,
        stored: !this.persists,
      });
      this.#marks = mark;
    } catch (error) {
      // What cannot be done is said at once and changes nothing.
      if (!(error instanceof RequestError)) throw error;
    }
  }

  // Its disk.

  /** Begins or ends a write. */
  write(all: boolean): void {
    if (this.#writing) {
      for (const [key, value] of this.#writing) {
        if (value === undefined) this.#disk.delete(key);
        else this.#disk.set(key, value);
        const [kind, session = '', counter = ''] = key.split(' ');
        const made = kind === 'op' ? this.known.get(session)?.made.get(BigInt(counter)) : undefined;
        if (made) made.stored = true;
      }
      this.core.handleStored(this.#writing);
      this.#writing = undefined;
    } else {
      const writes = this.core.takeWrites(all);
      // As they are now, as a store would have them.
      this.#writing = writes && structuredClone(writes);
    }
  }

  get isWriting(): boolean {
    return this.#writing !== undefined || this.core.hasWrites;
  }

  /** The process dies, and another begins with what is written down. What was under way is written, or it is not. */
  die(now: number): void {
    if (this.#writing && this.#random.once(2)) this.write(true);
    this.#writing = undefined;
    this.seen.add('died');
    this.core = this.#begin(0n);
    for (const [session, known] of this.known) {
      // Its counters are free again: nobody was ever told of them.
      for (const [counter, made] of known.made) if (!made.stored) known.made.delete(counter);
      known.have = this.core.sessions.get(session)?.replica?.at.version;
      this.core.subscribe(session, now);
    }
  }

  // What it is told.

  take(mistake: Mistake | undefined): void {
    for (const event of this.core.events.splice(0)) {
      switch (event.type) {
        case 'session':
          this.#told(event.session, event.event);
          break;
        case 'disconnected':
          if (event.error instanceof FaultError && !/silence/.test(event.error.message)) throw event.error;
          if (event.error instanceof ProtocolError) throw event.error;
          break;
        case 'denied':
        case 'stopped':
          throw event.error;
      }
    }
    if (mistake === 'sends before it is written down') {
      for (const id of this.known.keys()) {
        for (const op of this.core.sessions.get(id)?.queue ?? []) op.stored = true;
      }
    }
  }

  #told(session: string, event: SessionEvent): void {
    const known = this.#of(session);
    switch (event.kind) {
      case 'changed':
        if (known.have === undefined || event.at.version !== known.have + 1n) {
          this.fail(session, `${event.at.version} came after ${known.have}`);
        }
        known.have = event.at.version;
        break;
      case 'reset':
        this.seen.add(event.reason);
        known.have = event.at.version;
        if (event.reason === 'Lost') {
          for (const made of known.made.values()) {
            // What was not durable may be accepted once more.
            if (made.fate === 'accepted') made.fate = 'open';
          }
        }
        break;
      case 'resumed':
        this.seen.add('resumed');
        if (known.have !== undefined && event.at.version !== known.have) {
          this.fail(session, `resumed after ${event.at.version}, not ${known.have}`);
        }
        known.have = event.at.version;
        break;
      case 'created':
      case 'accepted':
        this.#settle(session, known, event.counter, 'accepted');
        if (event.kind === 'created') known.have ??= event.at.version;
        break;
      case 'durable':
        this.#settle(session, known, event.counter, 'durable');
        break;
      case 'refused':
        this.seen.add('refused');
        this.#settle(session, known, event.counter, 'refused');
        break;
      case 'ended':
        this.fail(session, `ended: ${event.error.message}`);
    }
  }

  #settle(session: string, known: Known, counter: bigint, fate: Fate): void {
    const made = known.made.get(counter);
    if (!made) return;
    if (made.fate === 'refused' && fate !== 'refused')
      this.fail(session, `${counter} was refused, and is ${fate}`);
    if (made.fate === 'durable' && fate === 'refused')
      this.fail(session, `${counter} was durable, and is refused`);
    if (made.fate === 'durable' && fate === 'accepted') return;
    made.fate = fate;
  }

  /** For people: what is open. */
  get summary(): string {
    const sessions = [...this.known.keys()].map(id => {
      const session = this.core.sessions.get(id);
      const ops = [...(session?.queue ?? [])].map(
        op => `${op.counter} ${op.body.kind} ${op.progress} ${op.stored}`,
      );
      return `${id} ${session?.subscription.state} retry ${session?.retryAt} [${ops}]`;
    });
    const { link, connectAt, isWriting } = this;
    return `client ${this.name} (link ${link}, connects at ${connectAt}, writing ${isWriting}): ${sessions.join('; ')}`;
  }

  /** Whether nothing is open. */
  get isAtRest(): boolean {
    if (this.isWriting) return false;
    for (const id of this.known.keys()) {
      const session = this.core.sessions.get(id);
      if (session?.subscription.state !== 'live' || session.queue.length) return false;
    }
    return true;
  }
}
