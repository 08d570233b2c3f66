// How an application listens to a session: what is the same wherever the session is kept. Never changes anything.

import type { Cancellable, Change, DeepReadonly, Presence, Session, Stop, StreamOptions } from '../api.ts';
import { cancellable, deferred, Emitter } from './emitter.ts';
import { conflated } from './frame.ts';
import { Stream } from './stream.ts';

/** Changes that wait for one slow reader, unless it asks for another number. */
const STREAM_LIMIT = 1_024;

interface Events {
  change: Change;
  state: undefined;
  presence: Presence;
  end: undefined;
}

export abstract class Observed<T> {
  protected readonly events = new Emitter<Events>();
  /** The state may be another one: who listens is told soon. */
  protected readonly notify = conflated(() => this.events.emit('state', undefined));

  abstract get state(): DeepReadonly<T> | undefined;
  abstract get error(): Error | undefined;
  abstract get presence(): Presence;
  /** A reader of changes was too slow. */
  protected abstract lagged(missed: number): void;

  ready({ signal }: Cancellable = {}): Promise<DeepReadonly<T>> {
    const { promise, resolve, reject } = deferred<DeepReadonly<T>>();
    const look = () => {
      const { state } = this;
      if (state === undefined && !this.error) return;
      for (const stop of stops) stop();
      if (state === undefined) reject(this.error);
      else resolve(state);
    };
    const stops = [this.events.on('state', look), this.events.on('end', look)];
    look();
    return cancellable(promise, signal, () => {
      for (const stop of stops) stop();
    });
  }

  subscribe(
    listener: (state: DeepReadonly<T>, session: Session<T>) => void,
    options: Cancellable = {},
  ): Stop {
    let told: DeepReadonly<T> | undefined;
    const tell = () => {
      const { state } = this;
      if (state === undefined || state === told) return;
      told = state;
      listener(state, this as unknown as Session<T>);
    };
    const stop = this.events.on('state', tell, options);
    if (!options.signal?.aborted) tell();
    return stop;
  }

  states(options: Cancellable = {}): AsyncIterableIterator<DeepReadonly<T>> {
    return this.#iterate<DeepReadonly<T>>(
      1,
      () => [],
      options,
      push => this.subscribe(push),
    );
  }

  stream({ limit = STREAM_LIMIT, signal }: StreamOptions = {}): AsyncIterableIterator<Change> {
    const overflow = (items: Change[]): Change[] => {
      const missed = items.reduce((sum, item) => sum + (item.kind === 'lagged' ? item.missed : 1), 0);
      this.lagged(missed);
      return [{ kind: 'lagged', missed }];
    };
    return this.#iterate(Math.max(1, limit), overflow, signal ? { signal } : {}, push => this.onChange(push));
  }

  #iterate<Item>(
    limit: number,
    overflow: (items: Item[]) => Item[],
    { signal }: Cancellable,
    listen: (push: (item: Item) => void) => Stop,
  ): Stream<Item> {
    const stops: Stop[] = [];
    const end = () => stream.end();
    const stream = new Stream<Item>(limit, overflow, () => {
      for (const stop of stops) stop();
      signal?.removeEventListener('abort', end);
    });
    stops.push(
      listen(item => stream.push(item)),
      this.events.on('end', end),
    );
    if (this.error || signal?.aborted) end();
    else signal?.addEventListener('abort', end);
    return stream;
  }

  onChange(listener: (change: Change) => void, options?: Cancellable): Stop {
    return this.events.on('change', listener, options);
  }

  onPresence(listener: (presence: Presence) => void, options: Cancellable = {}): Stop {
    if (this.presence.devices.length && !options.signal?.aborted) listener(this.presence);
    return this.events.on('presence', listener, options);
  }
}
