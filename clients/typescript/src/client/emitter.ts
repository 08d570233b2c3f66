// Listeners by the name of an event. A listener that throws is reported and keeps nobody else from hearing.

import type { Cancellable, Stop } from '../api.ts';

export class Emitter<Events> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();

  on<Name extends keyof Events>(
    name: Name,
    listener: (event: Events[Name]) => void,
    { signal }: Cancellable = {},
  ): Stop {
    if (signal?.aborted) return () => {};
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all);
    // The same function may listen twice.
    const own = (event: Events[Name]) => listener(event);
    all.add(own);
    const stop = () => {
      all.delete(own);
      signal?.removeEventListener('abort', stop);
    };
    signal?.addEventListener('abort', stop);
    return stop;
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of this.#listeners.get(name) ?? [])
      guard(() => (listener as (event: Events[Name]) => void)(event));
  }

  clear(): void {
    this.#listeners.clear();
  }
}

/** Runs what belongs to the application: what it throws is reported as uncaught, and stops nothing here. */
export function guard(run: () => void): void {
  try {
    run();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** A promise and what settles it. A rejection that nobody waits for is no uncaught one. */
export interface Deferred<T> {
  promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

export function deferred<T>(): Deferred<T> {
  const parts = {} as Deferred<T>;
  parts.promise = new Promise<T>((resolve, reject) => {
    parts.resolve = resolve;
    parts.reject = reject;
  });
  parts.promise.catch(() => {});
  return parts;
}

/** Rejects with the signal's reason when it aborts, after `cancel`. */
export function cancellable<T>(promise: Promise<T>, signal?: AbortSignal, cancel?: () => void): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => {
      cancel?.();
      reject(signal.reason);
    };
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
