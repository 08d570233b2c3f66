// Begins /home, in its own page or in the one that somebody signed in on; and begins it anew after another login.
import '../styles/base.css';
import '../styles/home.css';
import '../styles/handoff.css';
import type { TakenOver } from '@syncbridge/client';
import { render } from 'preact';
import { chooseSession, forget, keep, type Login } from '../login.ts';
import { root } from '../root.ts';
import { Home } from './home.tsx';
import { Room } from './room.ts';

/**
 * Shows the session of a login; with what a handoff brought, if one did. What it resolves with is then on the screen.
 * `entered` is called before anything is drawn, when `window.appState` tells of this login.
 */
export async function start(
  login: Login,
  taken?: TakenOver,
  entered: (room: Room) => void = () => {},
): Promise<Room> {
  const room = await Room.enter(login, taken, () => {
    forget();
    location.replace('/?ended');
  });
  entered(room);
  const again = (taken: TakenOver, device: string) => {
    void room.close();
    const login = keep(taken, device);
    chooseSession(taken.sessionId);
    void start(login, taken);
  };
  render(<Home key={login.tokens.accessToken} room={room} onTaken={again} />, root());
  return room;
}
