// Signing in: `@syncbridge/client/service`. Keeps nothing.

import type { Json, TakenOver, Tokens } from './api.ts';
import { post, type ServiceOptions } from './rest.ts';

export { refresh, type ServiceOptions } from './rest.ts';

/** Who signs in. */
export interface Credentials {
  email: string;
  password: string;
  /** The installation that the tokens are for. A login of it that was there before ends. */
  deviceId?: string;
  /** Whether each renewal brings another refresh token. */
  rotateRefresh?: boolean;
}

/** Signs in. Rejects with `ServerError`: `invalid_credentials`, `rate_limited`, `busy`. */
export const login = (credentials: Credentials, options?: ServiceOptions): Promise<Tokens> =>
  post('auth/login', credentials, options);

/** Makes an account and signs in. Rejects with `ServerError`: `already_exists`, `invalid_field`, `rate_limited`. */
export const register = (
  account: { email: string; password: string; name?: string },
  options?: ServiceOptions,
): Promise<Tokens> => post('auth/register', account, options);

/** Ends the login and every connection of it. */
export const logout = (refreshToken: string, options?: ServiceOptions): Promise<void> =>
  post('auth/logout', { refreshToken }, options);

/** Takes a session over with another device's code or token: signs this device in as who offered it. */
export const completeHandoff = <T = Json>(
  offer: ({ code: string } | { token: string }) & { deviceId: string },
  options?: ServiceOptions,
): Promise<TakenOver<T>> => post('handoff/complete', offer, options);
