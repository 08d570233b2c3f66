// What the package exports in a page. `node.ts` is the same for Node.

export type * from './api.ts';
export * from './error.ts';
