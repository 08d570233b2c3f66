// Who is signed in, kept so that a reload keeps the session.
//
// Where tokens lie is a choice between evils. The API gives refresh tokens in its answers, not in HttpOnly cookies, so a
// script of this origin can read them wherever they are. They are in sessionStorage: it survives a reload and a crash of
// the tab, ends with the tab, is never written where the next person at this machine finds it, and is not shared, so
// that two tabs can be two users. localStorage would spare a sign-in for each new tab, at the price of a token that lies
// there for 30 days. What keeps foreign scripts out in the first place is the policy of server/src/pages.
import type { Tokens, User } from '@syncbridge/client';

const LOGIN = 'syncbridge.login';
const SESSION = 'syncbridge.session';

/** A login of this tab. */
export interface Login {
  readonly tokens: Tokens;
  readonly user: User;
  readonly device: string;
}

/** The login of this tab, if there is one. */
export function kept(): Login | undefined {
  const text = sessionStorage.getItem(LOGIN);
  if (text === null) return undefined;
  try {
    const login: unknown = JSON.parse(text);
    return isLogin(login) ? login : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a login. Which session was shown is forgotten when it is another user's. */
export function keep(tokens: Tokens, device: string): Login {
  const { user } = tokens;
  if (kept()?.user.id !== user.id) sessionStorage.removeItem(SESSION);
  const { accessToken, refreshToken, expiresIn } = tokens;
  const login = {
    tokens: { accessToken, refreshToken, expiresIn, user, deviceId: device },
    user,
    device,
  } as Login;
  sessionStorage.setItem(LOGIN, JSON.stringify(login));
  return login;
}

/** Forgets everything of the login. */
export function forget(): void {
  sessionStorage.removeItem(LOGIN);
  sessionStorage.removeItem(SESSION);
}

/** Which session this tab shows, if it was chosen. */
export function chosenSession(): string | undefined {
  return sessionStorage.getItem(SESSION) ?? undefined;
}

/** Chooses the session that this tab shows. */
export function chooseSession(id: string): void {
  sessionStorage.setItem(SESSION, id);
}

function isLogin(value: unknown): value is Login {
  const login = value as Partial<Login> | null;
  return (
    typeof login === 'object' &&
    login !== null &&
    typeof login.device === 'string' &&
    typeof login.user?.id === 'string' &&
    typeof login.tokens?.accessToken === 'string' &&
    typeof login.tokens.refreshToken === 'string'
  );
}
