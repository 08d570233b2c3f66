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
  connection: "none",
  transport: null,
  latency: null,
  pending: 0,
};

/** Shows this from now on. */
export function show(read: () => AppState): void {
  const state = {};
  for (const key of Object.keys(NOTHING) as (keyof AppState)[]) {
    Object.defineProperty(state, key, { enumerable: true, get: () => read()[key] });
  }
  window.appState = state as AppState;
}
