// WebSocket as browsers have it. Sees bytes only, never a frame or a message.

import type { Link, LinkHandler, Transport, TransportTarget } from '../api.ts';

/** The subprotocol of binary frames, and the path, of proto-spec/transports.md. */
export const SUBPROTOCOL = 'syncbridge.v1';
/** Browsers do not tell when a socket takes more again: it is looked at this often, in milliseconds, while it is full. */
const DRAIN_POLL = 10;
/** A close frame takes 123 bytes of a reason: so many characters, of three bytes at most in UTF-8. */
const MAX_REASON = 41;

/** The address of the WebSocket of a server. */
export function socketUrl({ url }: TransportTarget): URL {
  const socket = new URL('/ws', url);
  socket.protocol = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss:' : 'ws:';
  return socket;
}

/** The close code that says the protocol's number, and back. */
export const closeCode = (code: number): number => (code === 0 ? 1000 : 4000 + code);
export const codeOfClose = (close: number): number | undefined => (close >= 4000 ? close - 4000 : undefined);

/** A reason that fits. */
export const shorten = (reason: string): string => reason.slice(0, MAX_REASON);

/** WebSocket in a page. */
export const webSocket = (): Transport => ({
  open(target, handler) {
    return new BrowserLink(socketUrl(target), handler);
  },
});

class BrowserLink implements Link {
  readonly #socket: WebSocket;
  #isPolling = false;
  readonly #handler: LinkHandler;
  #isClosed = false;

  constructor(url: URL, handler: LinkHandler) {
    this.#handler = handler;
    const socket = new WebSocket(url, SUBPROTOCOL);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      if (!this.#isClosed) handler.onOpen('websocket');
    };
    socket.onmessage = ({ data }) => {
      if (!this.#isClosed && data instanceof ArrayBuffer) handler.onBytes(new Uint8Array(data), 0);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.#isClosed) return;
      this.#isClosed = true;
      handler.onClose(codeOfClose(code), reason || `WebSocket close ${code}`);
    };
  }

  readonly streams = 1;

  get buffered(): number {
    return this.#socket.bufferedAmount;
  }

  send(bytes: Uint8Array): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(bytes as Uint8Array<ArrayBuffer>);
    if (!this.#isPolling && this.buffered) this.#poll();
  }

  #poll(): void {
    this.#isPolling = true;
    setTimeout(() => {
      this.#isPolling = false;
      if (this.#isClosed) return;
      if (this.buffered) this.#poll();
      this.#handler.onDrain();
    }, DRAIN_POLL);
  }

  close(code: number, reason: string): void {
    this.#isClosed = true;
    this.#socket.close(closeCode(code), shorten(reason));
  }
}
