// A page of the test: a client that lives in a SharedWorker. Shown by nobody; the test drives it by `window.tab`.
import type { Client, Session } from '@syncbridge/client';
import { connectShared } from '@syncbridge/client/shared';

export interface Log {
  log: string[];
}

/** What the test sees of a tab. */
export interface TabWindow {
  /** Joins the application's worker. */
  join(options: Parameters<typeof connectShared>[1]): void;
  tab: { client: Client; session: Session<Log> | undefined };
}

const page: TabWindow = {
  tab: undefined as never,
  join(options) {
    const worker = new SharedWorker('/worker.js', { type: 'module', name: 'test' });
    this.tab = { client: connectShared(worker.port, options), session: undefined };
  },
};
Object.assign(globalThis, page);
