// The package in Node, which has no WebSocket before version 22.

import { connectOn } from './client/connect.ts';
import { type NodeTransportOptions, nodeWebSocket } from './transport/node-websocket.ts';

export * from './exports.ts';
export { type NodeTransportOptions, nodeWebSocket as webSocket };

/** See `index.ts`. */
export const connect = connectOn({ transport: () => nodeWebSocket() });
