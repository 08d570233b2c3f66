// `window.appState`: what this page holds of the session, for tests and for people with a console. Each part is read in
// the moment in which it is asked for, so it is never older than what the client knows.

export interface AppState {
  readonly sessionId: string | null;
  /** The session's state, own changes that are on their way included. */
  readonly data: unknown;
  readonly version: number;
  readonly epoch: number;
  readonly deviceId: string | null;
  readonly activeDeviceId: string | null;
  readonly userId: string | null;
  readonly connection: string;
  readonly transport: string | null;
  /** Milliseconds of the last round trip. */
  readonly latency: number | null;
  /** Own changes that the server has not answered. */
  readonly pending: number;
}

declare global {
  interface Window {
    appState: AppState;
  }
}

/** Of a page without a session. */
export const NOTHING: AppState = {
  sessionId: null,
  data: null,
  version: 0,
  epoch: 0,
  deviceId: null,
  activeDeviceId: null,
  userId: null,
  connection: 'none',
  transport: null,
  latency: null,
  pending: 0,
};

const sorted = new WeakMap<object, unknown>();

/**
 * A value as the server writes it, names in order: equal states are equal texts on every device. Parts that stay the same
 * are sorted once.
 */
export function canonical(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const known = sorted.get(value);
  if (known !== undefined) return known;
  const made = Array.isArray(value)
    ? value.map(canonical)
    : Object.fromEntries(
        Object.entries(value)
          .sort(([one], [other]) => (one < other ? -1 : 1))
          .map(([name, member]) => [name, canonical(member)]),
      );
  sorted.set(value, made);
  return made;
}

/** Shows this from now on. */
export function show(read: () => AppState): void {
  const state = {};
  for (const key of Object.keys(NOTHING) as (keyof AppState)[]) {
    Object.defineProperty(state, key, { enumerable: true, get: () => read()[key] });
  }
  window.appState = state as AppState;
}
