// One session as the application holds it. Never talks to the server: it asks the client's core, and is told what happened.

import type {
  Attached,
  Change,
  DeepReadonly,
  Handoff,
  Json,
  Offer,
  Patch,
  Position,
  Presence,
  Session,
  Unsent,
  Update,
  UpdateOptions,
} from '../api.ts';
import type { Position as WirePosition } from '../codec/message.ts';
import type { Sending } from '../core/core.ts';
import type { SessionEvent } from '../core/event.ts';
import { checkPatch } from '../document/apply.ts';
import { record, toJson } from '../document/draft.ts';
import { freeze } from '../document/value.ts';
import { ClosedError, RequestError } from '../error.ts';
import type { ClientHandle } from './client.ts';
import { Observed } from './observed.ts';
import { UpdateHandle } from './update.ts';

/** A place in numbers: versions and epochs stay below 2^53, which a million changes a second reach in 285 years. */
export const position = ({ epoch, version }: WirePosition): Position => ({
  epoch: Number(epoch),
  version: Number(version),
});

/** The name of a tag on the wire: `last_writer_wins` is `LastWriterWins`. */
export const tagName = <Name extends string>(name: Name): TagName<Name> =>
  name.replace(/(?:^|_)(.)/g, (_, letter: string) => letter.toUpperCase()) as TagName<Name>;

type TagName<Name extends string> = Name extends `${infer First}_${infer Rest}`
  ? `${Capitalize<First>}${TagName<Rest>}`
  : Capitalize<Name>;

export class SessionHandle<T = Json> extends Observed<T> implements Session<T> {
  readonly id: string;
  readonly #client: ClientHandle;
  readonly #updates = new Map<bigint, UpdateHandle>();
  #revision = -1;
  #lastState: Json | undefined;
  #lastAt: Position | undefined;
  #presence: Presence = { devices: [], activeDevice: undefined };
  #error: Error | undefined;
  readonly handoff: Handoff;

  constructor(id: string, client: ClientHandle) {
    super();
    this.id = id;
    this.#client = client;
    const path = `/sessions/${encodeURIComponent(id)}/handoff`;
    this.handoff = {
      start: async ({ ttlSeconds, ...options } = {}) =>
        (await client.request<Offer>('POST', `${path}/code`, { ...options, body: { ttlSeconds } })).body,
      complete: async (handoffToken, fromDeviceId, options) => {
        const body = { fromDeviceId, toDeviceId: client.status.device, handoffToken };
        await client.request('POST', path, { ...options, body });
      },
      answer: (handoff, accept) => {
        client.core.answerHandoff(handoff, accept);
        client.pump();
      },
    };
  }

  get #core() {
    return this.#client.core.sessions.get(this.id);
  }

  get state(): DeepReadonly<T> | undefined {
    // A session that is over keeps the last state it had.
    if (!this.#error) this.#lastState = this.#core?.document;
    return this.#lastState as DeepReadonly<T> | undefined;
  }

  get at(): Position | undefined {
    const at = this.#core?.replica?.at;
    return at ? position(at) : this.#lastAt;
  }

  get version(): number {
    return this.at?.version ?? 0;
  }

  get live(): boolean {
    return this.#core?.subscription.state === 'live';
  }

  get pending(): number {
    let pending = 0;
    for (const { progress, body } of this.#core?.queue ?? []) {
      if (progress === 'pending' && body.kind !== 'given-up') pending++;
    }
    return pending;
  }

  get error(): Error | undefined {
    return this.#error;
  }

  get presence(): Presence {
    return this.#presence;
  }

  get unsent(): readonly Unsent[] {
    return this.#client.core
      .unsent(this.id)
      .map(({ counter, body }) => ({ counter: Number(counter), operations: body.patch }));
  }

  update(recipe: (draft: T) => void, options?: UpdateOptions): Update {
    const document = this.#core?.document;
    if (document === undefined) throw new RequestError('not_ready');
    const operations = record(document, recipe as (draft: never) => unknown);
    if (operations.length) return this.#send(operations, options);
    const nothing = new UpdateHandle(0, operations);
    nothing.onDurable(this.at ?? { epoch: 0, version: 0 });
    return nothing;
  }

  patch(operations: Patch, options?: UpdateOptions): Update {
    return this.#send(checkPatch(toJson(operations)), options);
  }

  #send(patch: Patch, { durability, onConflict, after, lenient }: UpdateOptions = {}): Update {
    const sending: Sending = {
      durability: tagName(durability ?? 'notify'),
      onConflict: onConflict === 'session' ? undefined : tagName(onConflict ?? 'reject'),
      after: typeof after === 'object' ? BigInt(after.counter) : (after ?? 'overlapping'),
      lenient: lenient ?? false,
    };
    const operations = freeze(patch);
    return this.#made(this.#client.core.update(this.id, operations, sending), operations);
  }

  /** The handle of an op that the core has taken. */
  #made(counter: bigint, operations: Patch): Update {
    const update = new UpdateHandle(Number(counter), operations);
    this.#updates.set(counter, update);
    this.notify();
    this.#client.pump();
    return update;
  }

  resend(counter: number): Update {
    const unsent = this.unsent.find(unsent => unsent.counter === counter);
    return this.#made(this.#client.core.resend(this.id, BigInt(counter)), unsent?.operations ?? []);
  }

  discard(counter: number): void {
    this.#client.core.discard(this.id, BigInt(counter));
    this.#client.pump();
  }

  leave(): void {
    this.#client.leave(this.id);
    this.end(new ClosedError('left'));
  }

  protected override lagged(missed: number): void {
    this.#client.emit('lagged', { session: this.id, what: 'changes', missed });
  }

  // For the client.

  /** The session is over. */
  end(error: Error): void {
    if (this.#error) return;
    this.#lastState = this.#core?.document ?? this.#lastState;
    this.#lastAt = this.at;
    this.#error = error;
    for (const update of this.#updates.values()) update.onRefused(error);
    this.#updates.clear();
    this.events.emit('end', undefined);
    this.notify();
  }

  /** Whether the document is another one than at the last call: who listens is told soon. */
  look(): void {
    const revision = this.#core?.revision ?? this.#revision;
    if (revision === this.#revision) return;
    this.#revision = revision;
    this.notify();
  }

  /** Something happened. */
  take(event: SessionEvent): void {
    const change = (change: Change) => this.events.emit('change', change);
    switch (event.kind) {
      case 'changed': {
        const { at, patch, device, own, time } = event;
        return change({ kind: 'delta', at: position(at), operations: patch, device, own, time });
      }
      case 'reset': {
        const { reason } = event;
        const at = position(event.at);
        const lastKept = event.lastKept === undefined ? undefined : Number(event.lastKept);
        this.#client.emit('reset', { session: this.id, reason, at, lastKept });
        return change({ kind: 'reset', at, reason });
      }
      case 'created':
      case 'accepted':
        return this.#updates.get(event.counter)?.onAccepted(position(event.at));
      case 'durable':
        this.#updates.get(event.counter)?.onDurable(position(event.at));
        this.#updates.delete(event.counter);
        return;
      case 'durable-up-to':
        return this.#client.emit('durable', { session: this.id, at: position(event.at) });
      case 'refused': {
        const { counter, patch: operations = [], error } = event;
        this.#updates.get(counter)?.onRefused(error);
        this.#updates.delete(counter);
        const update = Number(counter);
        this.#client.emit('conflict', { session: this.id, update, operations, error });
        return change({ kind: 'refused', update, operations, error });
      }
      case 'presence': {
        const presence = this.#core?.presence;
        if (!presence) return;
        const devices: readonly Attached[] = presence.devices;
        this.#presence = { devices, activeDevice: presence.activeDevice };
        return this.events.emit('presence', this.#presence);
      }
      case 'handoff-requested':
      case 'handoff-completed':
      case 'access-changed':
      case 'deleted':
        return change(event);
      case 'notices-lagged':
        return this.#client.emit('lagged', { session: this.id, what: 'notices', missed: event.missed });
      case 'ended':
        this.#client.forget(this.id);
        this.#lastState = event.document;
        return this.end(event.error);
      case 'resumed':
    }
  }
}
