// `/home`: for who is signed in; others are sent to sign in.
import { NOTHING, show } from '../app-state.ts';
import { deviceId } from '../device.ts';
import { start } from '../home/start.tsx';
import { kept } from '../login.ts';

const login = kept();
if (login === undefined) {
  show(() => NOTHING);
  location.replace('/');
} else {
  void deviceId();
  void start(login);
}
