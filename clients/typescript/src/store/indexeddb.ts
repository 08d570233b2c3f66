// A store in the browser: updates that were made offline outlive the page. One client at a time uses a store, so several tabs
// get several: each takes the first that no other tab has.

import type { Store } from '../api.ts';

const ENTRIES = 'entries';
/** Tabs of one application that keep what they do; the next one keeps it in memory only. */
const MOST_TABS = 32;

/** A request or transaction of IndexedDB as a promise. */
function done<T>(request: IDBRequest<T>): Promise<T>;
function done(transaction: IDBTransaction): Promise<void>;
function done(of: IDBRequest | IDBTransaction): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fail = () => reject(of.error ?? new DOMException('given up', 'AbortError'));
    of.onerror = fail;
    if ('oncomplete' in of) {
      of.oncomplete = () => resolve(undefined);
      of.onabort = fail;
    } else {
      of.onsuccess = () => resolve(of.result);
    }
  });
}

/** Holds a lock of this name until the returned function is called, if nobody else has it. */
function hold(name: string): Promise<(() => void) | undefined> {
  // Without locks (Node, very old browsers) there is one tab.
  const locks = (globalThis.navigator as Navigator | undefined)?.locks;
  if (!locks) return Promise.resolve(() => {});
  return new Promise((resolve, reject) => {
    const held = locks.request(name, { ifAvailable: true }, lock => {
      if (!lock) return resolve(undefined);
      return new Promise<void>(release => resolve(release));
    });
    held.catch(reject);
  });
}

/**
 * A store in IndexedDB. `name` tells applications and users of one origin apart. A tab that is closed frees its place for the
 * next: what waits there is sent once, by the tab that takes it.
 */
export function indexedDbStore(name = 'syncbridge'): Store {
  let database: IDBDatabase | undefined;
  let release: (() => void) | undefined;

  const open = async (place: string) => {
    const request = indexedDB.open(place);
    request.onupgradeneeded = () => request.result.createObjectStore(ENTRIES);
    return done(request);
  };

  return {
    async load() {
      for (let tab = 0; tab < MOST_TABS; tab++) {
        const place = `${name} ${tab}`;
        release = await hold(place);
        if (!release) continue;
        database = await open(place);
        const entries = database.transaction(ENTRIES).objectStore(ENTRIES);
        const [keys, values] = await Promise.all([done(entries.getAllKeys()), done(entries.getAll())]);
        return new Map(keys.map((key, i) => [String(key), values[i]]));
      }
      return new Map();
    },

    async write(changes) {
      if (!database) return;
      const transaction = database.transaction(ENTRIES, 'readwrite');
      const entries = transaction.objectStore(ENTRIES);
      for (const [key, value] of changes) {
        if (value === undefined) entries.delete(key);
        else entries.put(value, key);
      }
      await done(transaction);
    },

    close() {
      database?.close();
      release?.();
    },
  };
}
