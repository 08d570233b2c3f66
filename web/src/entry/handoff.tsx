// `/handoff`, and `/handoff#TOKEN`. The token goes from the address before anything else: a history and a shared screen
// keep addresses.
import '../styles/base.css';
import '../styles/handoff.css';
import { render } from 'preact';
import { NOTHING, show } from '../app-state.ts';
import { deviceId } from '../device.ts';
import { HandoffPage } from '../handoff/handoff.tsx';
import { kept } from '../login.ts';
import { root } from '../root.ts';

/** The token of the address, which holds it no more. */
function taken(): string | undefined {
  const token = location.hash.slice(1);
  if (location.hash !== '') history.replaceState(null, '', location.pathname);
  return token === '' ? undefined : token;
}

function draw(token: string | undefined): void {
  render(<HandoffPage key={token ?? ''} device={deviceId()} token={token} login={kept()} />, root());
}

const token = taken();
show(() => NOTHING);
draw(token);
// A link that is opened where this page is already.
addEventListener('hashchange', () => {
  const another = taken();
  if (another !== undefined) draw(another);
});
