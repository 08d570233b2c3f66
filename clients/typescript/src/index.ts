// The package in a page; `node.ts` is the same for Node.

import { connectOn } from './client/connect.ts';
import { lazy } from './transport/lazy.ts';
import { webSocket } from './transport/websocket.ts';

export * from './exports.ts';
export { webSocket };

/**
 * A client that begins with what its store holds and connects by itself. Resolves without waiting for the server: sessions
 * can be used offline. {@link Client.online} waits.
 */
export const connect = connectOn({
  transport: name =>
    name === 'websocket' || !('WebTransport' in globalThis)
      ? webSocket()
      : lazy(async () => (await import('./transport/auto.ts')).best(name), webSocket()),
});
