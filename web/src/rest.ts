// Requests that are made before there is a connection: sign in, register, complete a handoff, sign out. Everything else
// goes over the client's connection. Never keeps a token.
import type { TakenOver, Tokens } from '@syncbridge/client';

/** The server said no, in words for a person. */
export class Refusal extends Error {
  constructor(
    message: string,
    /** The stable code of proto-spec/errors.md. */
    readonly code: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** What an application/problem+json says (RFC 9457). */
interface Problem {
  code?: unknown;
  detail?: unknown;
  title?: unknown;
}

async function post<Answer>(path: string, body: unknown): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      cache: 'no-store',
      credentials: 'omit',
    });
  } catch {
    throw new Refusal('The server cannot be reached. Check the connection and try again.', 'unreachable', 0);
  }
  const text = await response.text();
  const json: unknown = text === '' ? undefined : parsed(text);
  if (response.ok) return json as Answer;
  const problem = (typeof json === 'object' && json !== null ? json : {}) as Problem;
  const said = [problem.detail, problem.title].find(text => typeof text === 'string');
  const code = typeof problem.code === 'string' ? problem.code : 'internal';
  throw new Refusal(said ?? `The server answered ${response.status}.`, code, response.status);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Signs in. Throws {@link Refusal}, as all of these. */
export function signIn(email: string, password: string, deviceId: string): Promise<Tokens> {
  return post('/auth/login', { email, password, deviceId });
}

/** Makes an account. Its tokens are for no device. */
export function register(email: string, password: string, name: string): Promise<Tokens> {
  return post('/auth/register', { email, password, ...(name === '' ? {} : { name }) });
}

/** Ends the login that a refresh token came of. */
export function signOut(refreshToken: string): Promise<void> {
  return post('/auth/logout', { refreshToken });
}

/** Presents a code or a token: moves the session here and signs this device in. */
export function completeHandoff(
  presented: { code: string } | { token: string },
  deviceId: string,
): Promise<TakenOver> {
  return post('/handoff/complete', { ...presented, deviceId });
}
