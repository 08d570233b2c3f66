// The one loop between the core and a link: it carries bytes, time and records back and forth, and tells the application what
// happened. Decides nothing about the protocol.

import type {
  Answer,
  Cancellable,
  Client,
  ClientEvents,
  ConnectOptions,
  CreateOptions,
  DeepReadonly,
  Document,
  Json,
  Link,
  Method,
  RequestOptions,
  Session,
  Status,
  Stop,
  Store,
  Stream,
  Tokens,
  Transport,
  TransportName,
} from '../api.ts';
import { text, utf8 } from '../codec/bytes.ts';
import { config as coreConfig } from '../core/config.ts';
import { Core } from '../core/core.ts';
import type { Event, Response } from '../core/event.ts';
import { toJson } from '../document/draft.ts';
import { freeze } from '../document/value.ts';
import { ClosedError, DisconnectedError, ServerError } from '../error.ts';
import { origin, refresh } from '../rest.ts';
import { cancellable, type Deferred, deferred, Emitter } from './emitter.ts';
import { SessionHandle, tagName } from './session.ts';

/** Frames are handed to a link up to this many bytes at once, and while it holds no more than this. */
const BATCH = 64 << 10;
/** What no update waits for is written down this much later, in milliseconds: many changes, one write. */
const WRITE_DELAY = 250;
/** Pause before a write that failed is made again, in milliseconds. */
const WRITE_AGAIN = 1_000;
/** The longest time that timers take, in milliseconds. */
const LONGEST_TIMER = 0x7fffffff;

/** What differs between a page and Node. */
export interface Platform {
  /** The way to reach a server when the application names none. */
  transport(name: 'auto' | TransportName): Transport;
}

/** 128 random bits. */
export function random128(): bigint {
  return crypto.getRandomValues(new BigUint64Array(2)).reduce((sum, part) => (sum << 64n) | part, 0n);
}

export class ClientHandle implements Client {
  readonly core: Core;
  readonly #url: URL;
  readonly #servers: URL[];
  readonly #transport: Transport;
  readonly #store: Store | undefined;
  readonly #events = new Emitter<ClientEvents>();
  readonly #sessions = new Map<string, SessionHandle<never>>();
  readonly #answers = new Map<bigint, Deferred<never>>();
  #status: Status = { phase: 'connecting' };
  #link: Link | undefined;
  /** Grows with each link: what a former one reports is of no more interest. */
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isPumping = false;
  readonly #closed = new AbortController();
  /** Where tokens come from, and whether the present one is new and no server has let it in. */
  #tokens: Tokens | undefined;
  readonly #fetchToken: ConnectOptions['fetchToken'];
  #isFresh = false;
  #writing: Promise<void> | undefined;
  #writeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ConnectOptions, platform: Platform, entries: ReadonlyMap<string, unknown>) {
    const { transport = 'auto', store, device, signal } = options;
    this.#url = origin(options.url);
    this.#servers = (options.servers ?? []).map(origin);
    this.#transport = typeof transport === 'object' ? transport : platform.transport(transport);
    this.#store = store;
    this.#tokens = options.tokens;
    this.#fetchToken = options.fetchToken;
    const token = options.tokens?.accessToken ?? options.token ?? '';
    const config = coreConfig(device, random128());
    config.token = token;
    config.notices = options.presence ?? true;
    config.durable = options.durable ?? false;
    config.persist = store !== undefined;
    if (options.agent) config.agent = options.agent;
    // Pauses: nobody is harmed who guesses them.
    this.core = new Core(config, Math.random, entries);
    signal?.addEventListener('abort', () => void this.close(), { signal: this.#closed.signal });
    // What is not written yet when a page goes away is written while it goes.
    const page = globalThis as Partial<Pick<Window, 'addEventListener'>>;
    page.addEventListener?.('pagehide', () => this.#write(true), { signal: this.#closed.signal });
    page.addEventListener?.('online', () => this.reconnect(), { signal: this.#closed.signal });
    if (signal?.aborted) void this.close();
    else this.pump();
  }

  get status(): Status {
    return this.#status;
  }

  on<Name extends keyof ClientEvents>(
    name: Name,
    listener: (event: ClientEvents[Name]) => void,
    options?: Cancellable,
  ): Stop {
    return this.#events.on(name, listener, options);
  }

  emit<Name extends keyof ClientEvents>(name: Name, event: ClientEvents[Name]): void {
    this.#events.emit(name, event);
  }

  online(options?: Cancellable): Promise<void> {
    return this.#when(({ phase, error }) => {
      if (phase === 'stopped' || phase === 'closed') throw error ?? new ClosedError('closed');
      return phase === 'online' || undefined;
    }, options).then(() => {});
  }

  /** Waits until `look` gives something for the status, or throws. */
  #when<T>(look: (status: Status) => T | undefined, { signal }: Cancellable = {}): Promise<T> {
    const { promise, resolve, reject } = deferred<T>();
    const over = new AbortController();
    const tell = (status: Status) => {
      try {
        const found = look(status);
        if (found === undefined) return;
        resolve(found);
      } catch (error) {
        reject(error);
      }
      over.abort();
    };
    this.on('status', tell, over);
    tell(this.#status);
    return cancellable(promise, signal, () => over.abort());
  }

  session<T = Json>(id: string): Session<T> {
    this.#checkOpen();
    this.core.subscribe(id, now());
    const session = this.#handle<T>(id);
    this.pump();
    return session;
  }

  create<T = Json>(state: T, options: CreateOptions = {}): Session<T> {
    this.#checkOpen();
    const id = options.id ?? random128().toString(36);
    this.core.create(
      id,
      freeze(toJson(state)),
      tagName(options.conflict ?? 'last_writer_wins'),
      tagName(options.devices ?? 'many'),
    );
    const session = this.#handle<T>(id);
    this.pump();
    return session;
  }

  #handle<T>(id: string): SessionHandle<T> {
    let session = this.#sessions.get(id);
    if (!session) {
      session = new SessionHandle<never>(id, this);
      this.#sessions.set(id, session);
    }
    return session as unknown as SessionHandle<T>;
  }

  async get<T = Json>(id: string, { signal }: Cancellable = {}): Promise<Document<T>> {
    const path = `/sessions/${encodeURIComponent(id)}`;
    const { body } = await this.request<{
      epoch: number;
      version: number;
      state: T;
      activeDeviceId?: string | null;
    }>('GET', path, signal ? { signal } : {});
    const { epoch, version, state, activeDeviceId } = body;
    return {
      at: { epoch, version },
      state: freeze(state) as DeepReadonly<T>,
      activeDevice: activeDeviceId ?? undefined,
    };
  }

  async request<T = unknown>(method: Method, path: string, options: RequestOptions = {}): Promise<Answer<T>> {
    this.#checkOpen();
    const headers = Object.entries(options.headers ?? {}).map(([name, value]) => ({
      name: name.toLowerCase(),
      value,
    }));
    const hasBody = options.body !== undefined;
    if (hasBody && !headers.some(({ name }) => name === 'content-type')) {
      headers.push({ name: 'content-type', value: 'application/json' });
    }
    const body = hasBody ? utf8(JSON.stringify(options.body)) : new Uint8Array();
    const verb = tagName(method.toLowerCase() as Lowercase<Method>);
    const ask = () => this.core.request({ method: verb, path, headers, body });
    const answer = await this.#ask<Response>(ask, options.signal);
    const parsed = answer.body.length ? JSON.parse(text(answer.body)) : undefined;
    return { status: answer.status, headers: answer.headers, body: parsed as T };
  }

  /** Asks something of the core, whose answer comes as an event. */
  #ask<T>(ask: () => bigint, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const id = ask();
    const waiting = deferred<T>();
    this.#answers.set(id, waiting as unknown as Deferred<never>);
    this.pump();
    return cancellable(waiting.promise, signal, () => {
      this.#answers.delete(id);
      this.core.cancel(id);
      this.pump();
    });
  }

  #answer(id: bigint, answer: unknown): void {
    const waiting = this.#answers.get(id);
    this.#answers.delete(id);
    if (answer instanceof Error) waiting?.reject(answer);
    else waiting?.resolve(answer as never);
  }

  ping(options?: Cancellable): Promise<number> {
    const before = this.#status;
    this.core.ping(now());
    this.pump();
    return this.#when(status => {
      if (status.phase !== 'online') throw status.error ?? new DisconnectedError('offline');
      return status === before ? undefined : status.rtt;
    }, options);
  }

  authenticate(credentials: string | Tokens): void {
    this.#checkOpen();
    this.#adopt(credentials);
    if (this.#status.phase === 'stopped') this.reconnect();
  }

  #adopt(credentials: string | Tokens): void {
    const isToken = typeof credentials === 'string';
    this.#tokens = isToken ? undefined : credentials;
    this.core.setToken(isToken ? credentials : credentials.accessToken);
    this.#isFresh = false;
  }

  reconnect(): void {
    if (this.#closed.signal.aborted) return;
    this.core.restart(now());
    this.pump();
  }

  leave(id: string): void {
    this.core.unsubscribe(id, now());
    this.forget(id);
    this.pump();
  }

  /** The session's handle is of no more use; another call of `session` makes a new one. */
  forget(id: string): void {
    this.#sessions.delete(id);
  }

  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return this.#writing;
    this.core.close();
    this.pump();
    this.#closed.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#writeTimer);
    const error = new ClosedError('closed');
    for (const waiting of this.#answers.values()) waiting.reject(error);
    this.#answers.clear();
    for (const session of [...this.#sessions.values()]) session.end(error);
    this.#sessions.clear();
    this.#setStatus({ phase: 'closed' });
    this.#events.clear();
    await this.#writing;
    this.#write(true);
    await this.#writing;
    await this.#store?.close?.();
  }

  #checkOpen(): void {
    if (this.#closed.signal.aborted) throw new ClosedError('closed');
  }

  // The loop.

  /** Carries on whatever the core has to say and do. To be called after everything that is done to it. */
  pump(): void {
    if (this.#isPumping || this.#closed.signal.aborted) return;
    this.#isPumping = true;
    try {
      do {
        if ((this.core.timeout ?? Number.POSITIVE_INFINITY) <= now()) this.core.handleTimeout(now());
        this.#command();
        this.#tell();
        this.#send();
      } while (this.core.commands.length || this.core.events.length);
    } finally {
      this.#isPumping = false;
    }
    for (const session of this.#sessions.values()) session.look();
    this.#scheduleWrite();
    clearTimeout(this.#timer);
    const { timeout } = this.core;
    if (timeout !== undefined) {
      this.#timer = setTimeout(() => this.pump(), Math.min(Math.max(0, timeout - now()), LONGEST_TIMER));
    }
  }

  #command(): void {
    for (const command of this.core.commands.splice(0)) {
      if (command.type === 'connect') {
        this.#setStatus({ ...this.#settled(), phase: 'connecting' });
        void this.#connect(command.address);
      } else {
        this.#attempt++;
        this.#link?.send(command.last, 0);
        this.#link?.close(command.code, command.text);
        this.#link = undefined;
      }
    }
  }

  async #connect(address: string): Promise<void> {
    const attempt = ++this.#attempt;
    const isCurrent = () => attempt === this.#attempt && !this.#closed.signal.aborted;
    if (this.#fetchToken && !this.core.config.token) {
      const error = await this.#renew();
      if (!isCurrent()) return;
      if (error) return this.#failed(error);
    }
    // Another server is believed when the application has named it: a token goes nowhere else.
    const url = this.#servers.find(({ host }) => host === address) ?? this.#url;
    try {
      this.#link = this.#transport.open(
        { url },
        {
          onOpen: transport => {
            if (!isCurrent()) return;
            this.#setStatus({ ...this.#status, transport });
            this.core.handleConnected(now());
            this.pump();
          },
          onBytes: (bytes, stream) => {
            if (!isCurrent()) return;
            this.core.handleBytes(now(), bytes, stream);
            this.pump();
          },
          onDrain: () => {
            if (isCurrent()) this.pump();
          },
          onClose: (code, reason) => {
            if (!isCurrent()) return;
            this.#link = undefined;
            this.core.handleDisconnected(now(), code, reason);
            this.pump();
          },
        },
      );
    } catch (error) {
      // As a page that may not connect there at all.
      this.core.handleDisconnected(now(), undefined, String(error));
      this.pump();
    }
  }

  #send(): void {
    const link = this.#link;
    if (!link) return;
    if (link.streams === 1) return this.#sendOn(link, 0, undefined);
    this.#sendOn(link, 0, 0);
    this.#sendOn(link, 1, 1);
  }

  /** Sends what there is for stream `of` (without it: for both) on stream `on`. */
  #sendOn(link: Link, on: Stream, of: Stream | undefined): void {
    while (link === this.#link && link.buffered <= BATCH) {
      const frames: Uint8Array[] = [];
      let length = 0;
      while (length < BATCH) {
        const frame = this.core.transmit(now(), of);
        if (!frame) break;
        frames.push(frame);
        length += frame.length;
        // A message of WebSocket holds one frame of any size, or several small ones.
        if (frame.length > BATCH) break;
      }
      const [only] = frames;
      if (!only) return;
      link.send(frames.length === 1 ? only : join(frames, length), on);
    }
  }

  #tell(): void {
    for (const event of this.core.events.splice(0)) this.#take(event);
  }

  #take(event: Event): void {
    switch (event.type) {
      case 'session':
        return this.#sessions.get(event.session)?.take(event.event);
      case 'answered':
        return this.#answer(event.request, event.answer);
      case 'connected': {
        const { user, device, server_time_ms } = event.welcome;
        const rtt = this.core.connection?.rtt ?? 0;
        this.#isFresh = false;
        const clockOffset = Number(server_time_ms) + rtt / 2 - Date.now();
        return this.#setStatus({ ...this.#settled(), phase: 'online', user, device, rtt, clockOffset });
      }
      case 'ponged': {
        const rtt = this.core.connection?.rtt;
        return rtt === undefined ? undefined : this.#setStatus({ ...this.#status, rtt });
      }
      case 'disconnected': {
        const retryAt = Date.now() + Math.max(0, event.retryAt - now());
        return this.#setStatus({ phase: 'offline', error: event.error, retryAt });
      }
      case 'denied':
        return void this.#onDenied(event.error);
      case 'stopped':
        return this.#setStatus({ phase: 'stopped', error: event.error });
      case 'draining':
        return this.emit('draining', { at: Date.now() + (event.at - now()) });
      case 'warning':
        return this.emit('warning', event.error);
    }
  }

  /** What of the status is true of the connection that is being made, too. */
  #settled(): Partial<Status> {
    const { transport, user, device } = this.#status;
    return { ...(transport && { transport }), ...(user && { user }), ...(device && { device }) };
  }

  #setStatus(status: Status): void {
    this.#status = status;
    this.emit('status', status);
  }

  // Tokens.

  async #onDenied(error: ServerError): Promise<void> {
    // Another attempt with another new token would end the same.
    if (this.#isFresh) return this.#failed(error);
    const attempt = ++this.#attempt;
    const failed = await this.#renew(error);
    if (attempt !== this.#attempt || this.#closed.signal.aborted) return;
    if (failed) this.#failed(failed);
    else this.reconnect();
  }

  /** Gets another access token; returns why there is none. */
  async #renew(denied?: Error): Promise<Error | undefined> {
    const { signal } = this.#closed;
    try {
      if (this.#fetchToken) {
        this.#adopt(await this.#fetchToken(signal));
      } else if (this.#tokens) {
        const tokens = await refresh(this.#tokens.refreshToken, { url: this.#url.href, signal });
        this.#adopt(tokens);
        this.emit('tokens', tokens);
      } else {
        return denied;
      }
      this.#isFresh = true;
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  /** There is no token: for good when the server said so, else for now. */
  #failed(error: Error): void {
    const isFinal = error instanceof ServerError && !error.retryable;
    if (isFinal) this.core.stop(error);
    else this.core.lost(now(), error);
    this.pump();
  }

  // What is written down.

  #scheduleWrite(): void {
    if (!this.#store || !this.core.hasWrites) return;
    if (this.core.mustWrite) this.#write(false);
    this.#writeTimer ??= setTimeout(() => {
      this.#writeTimer = undefined;
      this.#write(true);
    }, WRITE_DELAY);
  }

  /** Writes what has changed; one write at a time. */
  #write(all: boolean): void {
    if (!this.#store || this.#writing) return;
    const writes = this.core.takeWrites(all);
    if (!writes) return;
    this.#writing = this.#commit(this.#store, writes).finally(() => {
      this.#writing = undefined;
      this.pump();
    });
  }

  async #commit(store: Store, writes: Map<string, unknown>): Promise<void> {
    for (;;) {
      try {
        await store.write(writes);
        return this.core.handleStored(writes);
      } catch (error) {
        // An update that is not written down is not sent: a counter must never name two.
        this.emit('warning', error instanceof Error ? error : new Error(String(error)));
        if (this.#closed.signal.aborted) return;
        await new Promise(resolve => setTimeout(resolve, WRITE_AGAIN));
      }
    }
  }
}

/** Milliseconds on a clock that never goes back. */
const now = (): number => performance.now();

function join(frames: Uint8Array[], length: number): Uint8Array {
  const joined = new Uint8Array(length);
  let at = 0;
  for (const frame of frames) {
    joined.set(frame, at);
    at += frame.length;
  }
  return joined;
}
