// A client whose connection is another's: it lives in a SharedWorker, for all tabs. A tab shows what it changes at once, on
// top of what the worker told last; all else is the worker's.

import type {
  Answer,
  Cancellable,
  Change,
  Client,
  ClientEvents,
  CreateOptions,
  DeepReadonly,
  Document,
  Handoff,
  Json,
  Method,
  Offer,
  Patch,
  Position,
  Presence,
  RequestOptions,
  Session,
  Status,
  Stop,
  Tokens,
  Unsent,
  Update,
  UpdateOptions,
} from '../api.ts';
import { random128 } from '../client/client.ts';
import { cancellable, type Deferred, deferred, Emitter } from '../client/emitter.ts';
import { Observed } from '../client/observed.ts';
import { UpdateHandle } from '../client/update.ts';
import { apply, checkPatch } from '../document/apply.ts';
import { record, toJson } from '../document/draft.ts';
import { freeze } from '../document/value.ts';
import { ClosedError, type RefusedError, RequestError } from '../error.ts';
import { type Call, type Parts, putTogether, type SharedOptions, type Told, type View } from './protocol.ts';

/** A client over a worker's port: `connectShared(new SharedWorker(…).port, options)`. */
export function connectShared(port: MessagePort, options: SharedOptions): Client {
  return new SharedClient(port, options);
}

class SharedClient implements Client {
  readonly #port: MessagePort;
  readonly #events = new Emitter<ClientEvents>();
  readonly #sessions = new Map<string, SharedSession<never>>();
  readonly #asked = new Map<number, Deferred<unknown>>();
  readonly #updates = new Map<number, { update: UpdateHandle; session: SharedSession<never> }>();
  readonly #device: string;
  #status: Status = { phase: 'connecting' };
  #lastId = 0;
  /** What is to be said once the worker has been told that this tab is there. */
  #early: Call[] | undefined = [];
  #release: () => void = () => {};

  constructor(port: MessagePort, options: SharedOptions) {
    this.#port = port;
    this.#device = options.device;
    port.onmessage = ({ data }: MessageEvent<Told>) => this.#take(data);
    port.start();
    const lock = `syncbridge tab ${random128()}`;
    const begin = () => {
      const early = this.#early ?? [];
      this.#early = undefined;
      for (const call of [{ call: 'begin', options, lock } as const, ...early]) this.post(call);
    };
    const { locks } = globalThis.navigator ?? {};
    if (!locks) begin();
    // Held until the tab is gone: that is how the worker learns of it.
    else
      void locks.request(lock, () => {
        begin();
        return new Promise<void>(release => {
          this.#release = release;
          if (this.#status.phase === 'closed') release();
        });
      });
  }

  get status(): Status {
    return this.#status;
  }

  /** The device that the connection speaks for. */
  get device(): string {
    return this.#status.device ?? this.#device;
  }

  post(call: Call): void {
    if (this.#early) this.#early.push(call);
    else this.#port.postMessage(call);
  }

  nextId(): number {
    return ++this.#lastId;
  }

  track(id: number, update: UpdateHandle, session: SharedSession<never>): void {
    this.#updates.set(id, { update, session });
  }

  emit<Name extends keyof ClientEvents>(name: Name, event: ClientEvents[Name]): void {
    this.#events.emit(name, event);
  }

  #take(told: Told): void {
    switch (told.told) {
      case 'status': {
        const { error, ...rest } = told.status;
        this.#status = { ...rest, ...(error ? { error: putTogether(error) } : {}) };
        return this.emit('status', this.#status);
      }
      case 'event': {
        if (told.name === 'warning') return this.emit('warning', putTogether(told.event as Parts));
        const event = told.event as { error?: Parts };
        return this.emit(
          told.name,
          (event.error ? { ...event, error: putTogether(event.error) } : event) as never,
        );
      }
      case 'view':
        return this.#sessions.get(told.session)?.show(told.view);
      case 'change':
        return this.#sessions.get(told.session)?.tell(told.change as Change);
      case 'accepted':
      case 'durable': {
        const update = this.#updates.get(told.id)?.update;
        if (update) update.counter = told.counter;
        if (told.told === 'accepted') return update?.onAccepted(told.at);
        this.#updates.delete(told.id);
        return update?.onDurable(told.at);
      }
      case 'failed': {
        const error = putTogether(told.error);
        this.#asked.get(told.id)?.reject(error);
        this.#asked.delete(told.id);
        this.#updates.get(told.id)?.update.onRefused(error);
        this.#updates.delete(told.id);
        return;
      }
      case 'answer':
        this.#asked.get(told.id)?.resolve(told.value);
        this.#asked.delete(told.id);
    }
  }

  on<Name extends keyof ClientEvents>(
    name: Name,
    listener: (event: ClientEvents[Name]) => void,
    options?: Cancellable,
  ): Stop {
    return this.#events.on(name, listener, options);
  }

  online({ signal }: Cancellable = {}): Promise<void> {
    const { promise, resolve, reject } = deferred<void>();
    const over = new AbortController();
    const look = ({ phase, error }: Status) => {
      if (phase === 'online') resolve();
      else if (phase === 'stopped' || phase === 'closed') reject(error ?? new ClosedError('closed'));
      else return;
      over.abort();
    };
    this.on('status', look, over);
    look(this.#status);
    return cancellable(promise, signal, () => over.abort());
  }

  session<T = Json>(id: string): Session<T> {
    return this.#enter(id, { call: 'enter', session: id });
  }

  create<T = Json>(state: T, options: CreateOptions = {}): Session<T> {
    const id = options.id ?? random128().toString(36);
    if (this.#sessions.has(id)) throw new RequestError('already_exists');
    const document = freeze(toJson(state));
    const session = this.#enter<T>(id, { call: 'create', session: id, state: document, options });
    session.begin(document);
    return session;
  }

  #enter<T>(id: string, call: Call): SharedSession<T> {
    if (this.#status.phase === 'closed') throw new ClosedError('closed');
    let session = this.#sessions.get(id);
    if (!session) {
      session = new SharedSession<never>(id, this);
      this.#sessions.set(id, session);
      this.post(call);
    }
    return session as unknown as SharedSession<T>;
  }

  forget(id: string): void {
    this.#sessions.delete(id);
  }

  get<T = Json>(id: string, { signal }: Cancellable = {}): Promise<Document<T>> {
    return this.#ask('get', [id, {}], signal);
  }

  request<T = unknown>(method: Method, path: string, options: RequestOptions = {}): Promise<Answer<T>> {
    const { signal, ...rest } = options;
    return this.#ask('request', [method, path, rest], signal);
  }

  ping({ signal }: Cancellable = {}): Promise<number> {
    return this.#ask('ping', [{}], signal);
  }

  #ask<T>(method: 'request' | 'get' | 'ping', args: unknown[], signal?: AbortSignal): Promise<T> {
    if (this.#status.phase === 'closed') return Promise.reject(new ClosedError('closed'));
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.nextId();
    const waiting = deferred<unknown>();
    this.#asked.set(id, waiting);
    this.post({ call: 'ask', id, method, args });
    return cancellable(waiting.promise as Promise<T>, signal, () => {
      this.#asked.delete(id);
      this.post({ call: 'cancel', id });
    });
  }

  authenticate(credentials: string | Tokens): void {
    this.post({ call: 'authenticate', credentials });
  }

  reconnect(): void {
    this.post({ call: 'reconnect' });
  }

  /** Ends this tab's part. The worker's client ends with the last one. */
  async close(): Promise<void> {
    if (this.#status.phase === 'closed') return;
    this.post({ call: 'bye' });
    this.#release();
    const error = new ClosedError('closed');
    for (const { update } of this.#updates.values()) update.onRefused(error);
    for (const waiting of this.#asked.values()) waiting.reject(error);
    for (const session of [...this.#sessions.values()]) session.end(error);
    this.#status = { phase: 'closed' };
    this.emit('status', this.#status);
    this.#events.clear();
  }
}

class SharedSession<T> extends Observed<T> implements Session<T> {
  readonly id: string;
  readonly handoff: Handoff;
  readonly #client: SharedClient;
  #view: View = {
    state: undefined,
    at: undefined,
    live: false,
    pending: 0,
    presence: { devices: [], activeDevice: undefined },
    unsent: [],
    error: undefined,
    seen: 0,
  };
  #error: Error | undefined;
  /** Updates of this tab that the worker's state does not have yet. */
  #overlay: { id: number; operations: Patch; lenient: boolean }[] = [];
  #state: Json | undefined;
  #isStale = false;

  constructor(id: string, client: SharedClient) {
    super();
    this.id = id;
    this.#client = client;
    const path = `/sessions/${encodeURIComponent(id)}/handoff`;
    this.handoff = {
      start: async ({ ttlSeconds, ...options } = {}) =>
        (await client.request<Offer>('POST', `${path}/code`, { ...options, body: { ttlSeconds } })).body,
      complete: async (handoffToken, fromDeviceId, options) => {
        const body = { fromDeviceId, toDeviceId: client.device, handoffToken };
        await client.request('POST', path, { ...options, body });
      },
      answer: (handoff, accept) => client.post({ call: 'answer', session: id, handoff, accept }),
    };
  }

  /** The first state of a session that this tab makes. */
  begin(state: Json): void {
    this.#view = { ...this.#view, state };
    this.#isStale = true;
  }

  get state(): DeepReadonly<T> | undefined {
    if (this.#isStale) {
      this.#isStale = false;
      let { state } = this.#view;
      for (const { operations, lenient } of this.#overlay) {
        if (state === undefined) break;
        try {
          state = apply(state, operations, lenient).document;
        } catch {
          // It does not fit any more: the worker decides.
        }
      }
      this.#state = state;
    }
    return this.#state as DeepReadonly<T> | undefined;
  }

  get at(): Position | undefined {
    return this.#view.at;
  }

  get version(): number {
    return this.at?.version ?? 0;
  }

  get live(): boolean {
    return this.#view.live;
  }

  get pending(): number {
    return this.#view.pending + this.#overlay.length;
  }

  get error(): Error | undefined {
    return this.#error;
  }

  get presence(): Presence {
    return this.#view.presence;
  }

  get unsent(): readonly Unsent[] {
    return this.#view.unsent;
  }

  protected override lagged(missed: number): void {
    this.#client.emit('lagged', { session: this.id, what: 'changes', missed });
  }

  update(recipe: (draft: T) => void, options?: UpdateOptions): Update {
    const state = this.state as Json | undefined;
    if (state === undefined || this.#error) throw new RequestError('not_ready');
    const operations = record(state, recipe as (draft: never) => unknown);
    if (operations.length) return this.#send(operations, options);
    const nothing = new UpdateHandle(0, operations);
    nothing.onDurable(this.at ?? { epoch: 0, version: 0 });
    return nothing;
  }

  patch(operations: Patch, options?: UpdateOptions): Update {
    return this.#send(checkPatch(toJson(operations)), options);
  }

  #send(given: Patch, { after, ...options }: UpdateOptions = {}): Update {
    const state = this.state as Json | undefined;
    if (state === undefined || this.#error) throw new RequestError('not_ready');
    const operations = freeze(given);
    const lenient = options.lenient ?? false;
    try {
      this.#state = apply(state, operations, lenient).document;
    } catch (error) {
      throw new RequestError('does_not_apply', (error as Error).message);
    }
    const on = typeof after === 'object' ? ids.get(after) : after;
    const made = this.#made(operations, (session, id) => ({
      call: 'update',
      session,
      id,
      operations,
      options: { ...options, ...(on === undefined ? {} : { after: on }) },
    }));
    this.#overlay.push({ id: this.#lastId, operations, lenient });
    return made;
  }

  #lastId = 0;

  #made(operations: Patch, call: (session: string, id: number) => Call): Update {
    const id = this.#client.nextId();
    this.#lastId = id;
    const update = new UpdateHandle(0, operations);
    ids.set(update, id);
    this.#client.track(id, update, this as unknown as SharedSession<never>);
    this.#client.post(call(this.id, id));
    this.notify();
    return update;
  }

  resend(counter: number): Update {
    const operations = this.unsent.find(unsent => unsent.counter === counter)?.operations;
    if (!operations) throw new RequestError('unknown_update');
    return this.#made(operations, (session, id) => ({ call: 'resend', session, id, counter }));
  }

  discard(counter: number): void {
    this.#client.post({ call: 'discard', session: this.id, counter });
  }

  leave(): void {
    this.#client.post({ call: 'leave', session: this.id });
    this.end(new ClosedError('left'));
  }

  // For the client.

  show(view: View): void {
    const { presence } = this.#view;
    // Equal parts stay equal as long as the worker tells the same.
    this.#view = { ...view, state: freeze(view.state) };
    this.#overlay = this.#overlay.filter(({ id }) => id > view.seen);
    this.#isStale = true;
    this.notify();
    if (JSON.stringify(presence) !== JSON.stringify(view.presence))
      this.events.emit('presence', view.presence);
    else this.#view.presence = presence;
    if (view.error) this.end(putTogether(view.error));
  }

  tell(change: Change): void {
    const error =
      change.kind === 'refused'
        ? { error: putTogether(change.error as unknown as Parts) as RefusedError }
        : {};
    this.events.emit('change', { ...change, ...error } as Change);
  }

  end(error: Error): void {
    if (this.#error) return;
    this.#error = error;
    this.#client.forget(this.id);
    this.events.emit('end', undefined);
    this.notify();
  }
}

/** The id under which the worker knows an update of this tab. */
const ids = new WeakMap<Update, number>();
