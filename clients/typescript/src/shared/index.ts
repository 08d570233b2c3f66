// `@syncbridge/client/shared`: one connection for all tabs of an application.

export type { SharedOptions } from './protocol.ts';
export { connectShared } from './tab.ts';
export { type Connect, share, type Tabs } from './worker.ts';
