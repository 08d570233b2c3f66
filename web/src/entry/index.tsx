// `/`: sign in or make an account; who is signed in already goes on to /home.
import '../styles/base.css';
import '../styles/signin.css';
import { render } from 'preact';
import { NOTHING, show } from '../app-state.ts';
import { deviceId } from '../device.ts';
import { kept } from '../login.ts';
import { root } from '../root.ts';
import { SignIn } from '../signin/sign-in.tsx';

show(() => NOTHING);
if (kept() === undefined) {
  render(<SignIn device={deviceId()} />, root());
} else {
  location.replace('/home');
}
