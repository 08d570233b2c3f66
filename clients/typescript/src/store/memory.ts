// A store that ends with the process: for tests, and to hand a client's queue from one client to the next.

import type { Store } from '../api.ts';

export function memoryStore(): Store {
  const entries = new Map<string, unknown>();
  return {
    load: async () => structuredClone(entries),
    write: async changes => {
      for (const [key, value] of changes) {
        if (value === undefined) entries.delete(key);
        else entries.set(key, structuredClone(value));
      }
    },
  };
}
