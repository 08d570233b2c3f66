// From signing in, or from a completed handoff, to /home: in the same document, because its script is there by then. The
// address is /home, and a reload loads that page.
import type { TakenOver } from '@syncbridge/client';
import { chooseSession, keep, type Login } from './login.ts';

/** Milliseconds that the address waits for the session. */
const PATIENCE = 1_000;

/** Loads what /home needs, so that it is there when somebody has signed in. */
export function prepareHome(): void {
  // What fails now is tried again on entering, and told there.
  home().catch(() => {});
}

function home() {
  return import('./home/start.tsx');
}

/** Shows /home to who has just signed in. */
export async function enterHome(login: Login): Promise<void> {
  await go(login);
}

/** Takes over what a handoff brought, and shows it. */
export async function enterWith(taken: TakenOver, device: string): Promise<void> {
  const login = keep(taken, device);
  chooseSession(taken.sessionId);
  await go(login, taken);
}

async function go(login: Login, taken?: TakenOver): Promise<void> {
  let start: Awaited<ReturnType<typeof home>>['start'];
  try {
    ({ start } = await home());
  } catch {
    // The server has become another meanwhile, with other scripts: its page knows which.
    location.assign('/home');
    return;
  }
  const room = await start(login, taken);
  // Whoever waits for the address finds the session there; but a server that is away now keeps nobody from /home.
  await Promise.race([room.opened(), new Promise(resolve => setTimeout(resolve, PATIENCE))]);
  // Going back from here leads to where one was before, not to a form that has done its work.
  history.replaceState(null, '', '/home');
}
