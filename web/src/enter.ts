// From signing in, or from a completed handoff, to /home: in the same document, because its script is there by then. The
// address is /home, and a reload loads that page.
import type { TakenOver } from '@syncbridge/client';
import { chooseSession, keep, type Login } from './login.ts';

const HOME = '/home';
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
    location.assign(HOME);
    return;
  }
  // Whoever waits for the address finds the session there. What a handoff brought is there before it is drawn.
  const room = await start(login, taken, ({ isOpen }) => isOpen && arrive());
  if (location.pathname === HOME) return;
  // But a server that is away now keeps nobody from /home.
  await Promise.race([room.opened(), new Promise(resolve => setTimeout(resolve, PATIENCE))]);
  arrive();
}

/** Going back from here leads to where one was before, not to a form that has done its work. */
function arrive(): void {
  history.replaceState(null, '', HOME);
}
