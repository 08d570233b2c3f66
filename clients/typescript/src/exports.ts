// What the package exports on every platform, but for `connect`.

export type * from './api.ts';
export * from './error.ts';
