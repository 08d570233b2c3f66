// The transports of a page by name. Loaded only where there is WebTransport.

import type { Transport } from '../api.ts';
import { race } from './race.ts';
import { webSocket } from './websocket.ts';
import { webTransport } from './webtransport.ts';

export const best = (name: 'auto' | 'webtransport'): Transport =>
  name === 'auto' ? race(webTransport(), webSocket()) : webTransport();
