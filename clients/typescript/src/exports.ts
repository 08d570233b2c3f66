// What the package exports on every platform, but for `connect`.

export type * from './api.ts';
export * from './error.ts';
export {
  type Credentials,
  completeHandoff,
  login,
  logout,
  refresh,
  register,
  type ServiceOptions,
} from './service.ts';
export { memoryStore } from './store/memory.ts';
