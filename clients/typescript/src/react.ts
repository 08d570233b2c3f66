// React hooks over a session. They need nothing of React but what every version since 18 has.

import { useCallback, useSyncExternalStore } from 'react';
import type { Client, DeepReadonly, Presence, Session, Status } from './api.ts';

/** What {@link useSession} gives: as the session has it, from one render to the next. */
export interface SessionView<T> {
  /** `undefined` until it is here. */
  readonly state: DeepReadonly<T> | undefined;
  /** Changes the document; the same function as long as the session is the same. */
  readonly update: Session<T>['update'];
}

/** A session's state, rendered again when it changes: at most once an animation frame. */
export function useSession<T>(session: Session<T>): SessionView<T> {
  const subscribe = useCallback((onChange: () => void) => session.subscribe(onChange), [session]);
  const get = () => session.state;
  const state = useSyncExternalStore(subscribe, get, get);
  const update = useCallback<Session<T>['update']>(
    (recipe, options) => session.update(recipe, options),
    [session],
  );
  return { state, update };
}

/** Who is attached to a session, and which device is the active one. */
export function usePresence<T>(session: Session<T>): Presence {
  const subscribe = useCallback((onChange: () => void) => session.onPresence(onChange), [session]);
  const get = () => session.presence;
  return useSyncExternalStore(subscribe, get, get);
}

/** How the client stands to the server. */
export function useStatus(client: Client): Status {
  const subscribe = useCallback((onChange: () => void) => client.on('status', onChange), [client]);
  const get = () => client.status;
  return useSyncExternalStore(subscribe, get, get);
}
