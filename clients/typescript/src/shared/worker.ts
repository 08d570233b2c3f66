// One client for all tabs of an application, in a SharedWorker: one socket, one queue. Each tab speaks to it over a port
// (`protocol.ts`); this end carries out what it asks for and tells it what happens.

import type { Client, ConnectOptions, Session, Update } from '../api.ts';
import { conflated } from '../client/frame.ts';
import { ClosedError } from '../error.ts';
import { indexedDbStore } from '../store/indexeddb.ts';
import { type Call, type SharedOptions, type Told, takeApart, type View } from './protocol.ts';

/** How the worker makes its client. */
export type Connect = (options: ConnectOptions) => Promise<Client>;

/** What a worker listens to for new tabs: the global object of a SharedWorker. */
export interface Tabs {
  addEventListener(type: 'connect', listener: (event: { ports: readonly MessagePort[] }) => void): void;
}

/**
 * Makes this SharedWorker the one that holds the client: `share(globalThis, connect)` is all that its script has to say. The
 * first tab's options count; when the last tab is gone the client ends.
 */
export function share(tabs: Tabs, connect: Connect): void {
  const hub = new Hub(connect);
  tabs.addEventListener('connect', ({ ports: [port] }) => {
    if (port) hub.add(port);
  });
}

/** The client and its tabs. */
export class Hub {
  readonly #connect: Connect;
  readonly #tabs = new Set<Tab>();
  #client: Promise<Client> | undefined;

  constructor(connect: Connect) {
    this.#connect = connect;
  }

  add(port: MessagePort): void {
    this.#tabs.add(new Tab(port, this));
  }

  client({ store, ...options }: SharedOptions): Promise<Client> {
    this.#client ??= this.#connect({
      ...options,
      ...(store === undefined ? {} : { store: indexedDbStore(store) }),
    });
    return this.#client;
  }

  /** A tab is gone. */
  async remove(tab: Tab): Promise<void> {
    if (!this.#tabs.delete(tab) || this.#tabs.size) return;
    const client = this.#client;
    this.#client = undefined;
    await (await client)?.close();
  }

  /** Whether another tab has this session. */
  isUsed(session: string, but: Tab): boolean {
    return [...this.#tabs].some(tab => tab !== but && tab.has(session));
  }
}

/** A session that a tab has. */
interface Entered {
  session: Session<never>;
  leave: AbortController;
  seen: number;
  /** The tab is shown the session as it is then, soon. */
  show: () => void;
}

/** One tab. */
class Tab {
  readonly #port: MessagePort;
  readonly #hub: Hub;
  readonly #gone = new AbortController();
  readonly #sessions = new Map<string, Entered>();
  readonly #updates = new Map<number, Update>();
  readonly #asked = new Map<number, AbortController>();
  /** Calls are carried out in their order, also while the client is being made. */
  #before: Promise<void> = Promise.resolve();
  #client: Client | undefined;

  constructor(port: MessagePort, hub: Hub) {
    this.#port = port;
    this.#hub = hub;
    port.onmessage = ({ data }: MessageEvent<Call>) => {
      this.#before = this.#before.then(() => this.#take(data)).catch(error => this.#warn(error));
    };
    port.start();
  }

  has(session: string): boolean {
    return this.#sessions.has(session);
  }

  #tell(told: Told): void {
    if (!this.#gone.signal.aborted) this.#port.postMessage(told);
  }

  #warn(error: unknown): void {
    this.#tell({ told: 'event', name: 'warning', event: takeApart(error) });
  }

  async #take(call: Call): Promise<void> {
    if (call.call === 'begin') return this.#begin(call.options, call.lock);
    const client = this.#client;
    if (!client || this.#gone.signal.aborted) {
      // Nothing could be begun; that was told. Who asks is told again.
      if ('id' in call)
        this.#tell({ told: 'failed', id: call.id, error: takeApart(new ClosedError('closed')) });
      return;
    }
    switch (call.call) {
      case 'enter':
        return this.#enter(call.session, () => client.session(call.session));
      case 'create':
        return this.#enter(call.session, () =>
          client.create<never>(call.state as never, { ...call.options, id: call.session }),
        );
      case 'leave':
        return this.#leave(call.session);
      case 'update':
        return this.#update(call.session, call.id, session => {
          const { after, ...options } = call.options;
          const on = typeof after === 'number' ? this.#updates.get(after) : after;
          return session.patch(call.operations, { ...options, ...(on === undefined ? {} : { after: on }) });
        });
      case 'resend':
        return this.#update(call.session, call.id, session => session.resend(call.counter));
      case 'discard':
        this.#sessions.get(call.session)?.session.discard(call.counter);
        return this.#view(call.session);
      case 'answer':
        return this.#sessions.get(call.session)?.session.handoff.answer(call.handoff, call.accept);
      case 'ask':
        return void this.#ask(client, call.id, call.method, call.args);
      case 'cancel':
        return this.#asked.get(call.id)?.abort();
      case 'authenticate':
        return client.authenticate(call.credentials);
      case 'reconnect':
        return client.reconnect();
      case 'bye':
        return this.#end();
    }
  }

  async #begin(options: SharedOptions, lock: string): Promise<void> {
    const { locks } = globalThis.navigator ?? {};
    // The tab holds it: to have it means that the tab is gone, however that came.
    locks?.request(lock, { signal: this.#gone.signal }, () => this.#end()).catch(() => {});
    let client: Client;
    try {
      client = await this.#hub.client(options);
    } catch (error) {
      this.#tell({ told: 'status', status: { phase: 'stopped', error: takeApart(error) } });
      return;
    }
    this.#client = client;
    const over = { signal: this.#gone.signal };
    const status = () => {
      const { error, ...rest } = client.status;
      this.#tell({ told: 'status', status: { ...rest, ...(error ? { error: takeApart(error) } : {}) } });
      for (const id of this.#sessions.keys()) this.#view(id);
    };
    client.on('status', status, over);
    for (const name of ['tokens', 'lagged', 'reset', 'durable', 'draining'] as const) {
      client.on(name, event => this.#tell({ told: 'event', name, event }), over);
    }
    client.on('warning', error => this.#warn(error), over);
    client.on(
      'conflict',
      event =>
        this.#tell({ told: 'event', name: 'conflict', event: { ...event, error: takeApart(event.error) } }),
      over,
    );
    status();
  }

  #enter(id: string, enter: () => Session<never>): void {
    if (this.#sessions.has(id)) return this.#view(id);
    let session: Session<never>;
    try {
      session = enter();
    } catch (error) {
      const presence = { devices: [], activeDevice: undefined };
      const nothing = {
        state: undefined,
        at: undefined,
        live: false,
        pending: 0,
        presence,
        unsent: [],
        seen: 0,
      };
      return this.#tell({ told: 'view', session: id, view: { ...nothing, error: takeApart(error) } });
    }
    const leave = new AbortController();
    const show = conflated(() => this.#view(id));
    const entered = { session, leave, seen: 0, show };
    this.#sessions.set(id, entered);
    session.subscribe(show, leave);
    session.onPresence(show, leave);
    void this.#follow(entered);
    this.#view(id);
  }

  /** Passes the changes on, to the session's end. */
  async #follow({ session, leave, show }: Entered): Promise<void> {
    for await (const change of session.stream(leave)) {
      const error = change.kind === 'refused' ? { error: takeApart(change.error) } : {};
      this.#tell({ told: 'change', session: session.id, change: { ...change, ...error } });
      show();
    }
    // What ended it is an error in its view.
    this.#view(session.id);
  }

  #leave(id: string): void {
    const entered = this.#sessions.get(id);
    if (!entered) return;
    this.#sessions.delete(id);
    entered.leave.abort();
    if (!this.#hub.isUsed(id, this)) entered.session.leave();
  }

  #view(id: string): void {
    const entered = this.#sessions.get(id);
    if (!entered) return;
    const { state, at, live, pending, presence, unsent, error } = entered.session;
    const view: View = {
      state,
      at,
      live,
      pending,
      presence,
      unsent,
      error: error && takeApart(error),
      seen: entered.seen,
    };
    this.#tell({ told: 'view', session: id, view });
  }

  #update(session: string, id: number, make: (session: Session<never>) => Update): void {
    const entered = this.#sessions.get(session);
    if (!entered) return;
    entered.seen = id;
    let update: Update;
    try {
      update = make(entered.session);
    } catch (error) {
      this.#tell({ told: 'failed', id, error: takeApart(error) });
      return this.#view(session);
    }
    const { counter } = update;
    this.#updates.set(id, update);
    const settle = (told: 'accepted' | 'durable') => (at: { epoch: number; version: number }) => {
      this.#tell({ told, id, counter, at });
      entered.show();
    };
    update.accepted.then(settle('accepted'), error => {
      this.#tell({ told: 'failed', id, error: takeApart(error) });
      this.#view(session);
    });
    update.durable.then(settle('durable'), () => {}).finally(() => this.#updates.delete(id));
  }

  async #ask(client: Client, id: number, method: 'request' | 'get' | 'ping', args: unknown[]): Promise<void> {
    const abort = new AbortController();
    this.#asked.set(id, abort);
    const options = { ...(args.pop() as object), signal: abort.signal };
    try {
      const ask = client[method] as (...args: unknown[]) => Promise<unknown>;
      this.#tell({ told: 'answer', id, value: await ask.call(client, ...args, options) });
    } catch (error) {
      this.#tell({ told: 'failed', id, error: takeApart(error) });
    } finally {
      this.#asked.delete(id);
    }
  }

  #end(): void {
    if (this.#gone.signal.aborted) return;
    for (const id of [...this.#sessions.keys()]) this.#leave(id);
    for (const abort of this.#asked.values()) abort.abort();
    this.#gone.abort();
    this.#port.close();
    void this.#hub.remove(this);
  }
}
