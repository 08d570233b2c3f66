// A WebSocket client (RFC 6455) for Node, which has none before version 22, over the upgrade of node:http. Sees bytes only.
// Data goes through as it arrives: no message is held in memory, whatever its length.

import { createHash, randomBytes } from 'node:crypto';
import { type ClientRequest, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Link, LinkHandler, Transport } from '../api.ts';
import { closeCode, codeOfClose, SUBPROTOCOL, shorten, socketUrl } from './websocket.ts';

/** RFC 6455 §1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** RFC 6455 §5.5. */
const MAX_CONTROL = 125;
/** For the other end's close, milliseconds. */
const CLOSE_TIMEOUT = 1_000;

/** Which server is believed. */
export interface NodeTransportOptions {
  /** The SHA-256 fingerprint of the server's certificate, 64 hexadecimal digits, as `syncbridge serve` prints it. */
  fingerprint?: string;
  /** Certificates of authorities, PEM, in place of the usual ones. */
  ca?: string | Buffer;
}

/** WebSocket for Node. */
export const nodeWebSocket = (options: NodeTransportOptions = {}): Transport => ({
  open(target, handler) {
    return new NodeLink(socketUrl(target), options, handler);
  },
});

class NodeLink implements Link {
  readonly #handler: LinkHandler;
  readonly #request: ClientRequest;
  #socket: Duplex | undefined;
  #isClosed = false;
  readonly #parser = new FrameParser();

  constructor(url: URL, { fingerprint, ca }: NodeTransportOptions, handler: LinkHandler) {
    this.#handler = handler;
    const key = randomBytes(16).toString('base64');
    const isSecure = url.protocol === 'wss:';
    const http = new URL(url);
    http.protocol = isSecure ? 'https:' : 'http:';
    this.#request = (isSecure ? httpsRequest : httpRequest)(http, {
      headers: {
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': key,
        'Sec-WebSocket-Protocol': SUBPROTOCOL,
      },
      // A pinned certificate is believed whoever signed it; the handshake proves that the server has its key.
      rejectUnauthorized: fingerprint === undefined,
      ...(ca === undefined ? {} : { ca }),
      // Every link has a socket of its own.
      agent: false,
    });
    this.#request
      .on('error', error => this.#end(undefined, error.message))
      .on('response', response => {
        response.resume();
        this.#end(undefined, `the server answered ${response.statusCode}, not a WebSocket`);
      })
      .on('upgrade', (response, socket, head) => {
        const accept = createHash('sha1')
          .update(key + GUID)
          .digest('base64');
        const { 'sec-websocket-accept': accepted, 'sec-websocket-protocol': protocol } = response.headers;
        if (accepted !== accept || protocol !== SUBPROTOCOL) {
          socket.destroy();
          return this.#end(undefined, 'the server speaks another protocol');
        }
        this.#begin(socket, head);
      })
      .on('socket', socket => {
        if (fingerprint === undefined || !isSecure) return;
        socket.once('secureConnect', () => {
          const found = (socket as TLSSocket).getPeerX509Certificate()?.fingerprint256.replaceAll(':', '');
          if (found?.toLowerCase() === fingerprint.toLowerCase()) return;
          this.#request.destroy(new Error("the server's certificate has another fingerprint"));
        });
      });
    this.#request.end();
  }

  #begin(socket: Duplex, head: Uint8Array): void {
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    (socket as { setNoDelay?: (on: boolean) => void }).setNoDelay?.(true);
    socket
      .on('data', (chunk: Uint8Array) => this.#take(chunk))
      .on('drain', () => this.#isClosed || this.#handler.onDrain())
      .on('error', error => this.#end(undefined, error.message))
      .on('close', () => this.#end(undefined, 'the connection ended'));
    this.#handler.onOpen('websocket');
    if (head.length) this.#take(head);
  }

  #take(chunk: Uint8Array): void {
    for (const part of this.#parser.push(chunk)) {
      if (this.#isClosed) return;
      switch (part.kind) {
        case 'data':
          this.#handler.onBytes(part.bytes, 0);
          break;
        case 'ping':
          this.#write(0xa, part.bytes);
          break;
        case 'close':
          this.#write(0x8, part.bytes.subarray(0, 2));
          this.#socket?.end();
          this.#end(part.code === undefined ? undefined : codeOfClose(part.code), part.reason);
          break;
        case 'broken':
          this.#socket?.destroy();
          this.#end(undefined, part.reason);
      }
    }
  }

  #end(code: number | undefined, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#handler.onClose(code, reason);
  }

  readonly streams = 1;

  get buffered(): number {
    return this.#socket?.writableLength ?? 0;
  }

  send(bytes: Uint8Array): void {
    if (!this.#isClosed) this.#write(0x2, bytes);
  }

  #write(opcode: number, payload: Uint8Array): void {
    if (this.#socket?.writable) this.#socket.write(clientFrame(opcode, payload));
  }

  close(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const socket = this.#socket;
    if (!socket) {
      this.#request.destroy();
      return;
    }
    const text = new TextEncoder().encode(shorten(reason));
    const number = closeCode(code);
    this.#write(0x8, Uint8Array.of(number >> 8, number & 255, ...text));
    socket.end();
    // What the server still says is of no use; but one that never ends its side must not hold up the process.
    const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT);
    timer.unref();
    socket.on('close', () => clearTimeout(timer));
  }
}

/** One masked frame. */
export function clientFrame(opcode: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const width = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const frame = new Uint8Array(2 + width + 4 + length);
  const view = new DataView(frame.buffer);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (width === 0 ? length : width === 2 ? 126 : 127);
  if (width === 2) view.setUint16(2, length);
  if (width === 8) view.setBigUint64(2, BigInt(length));
  const mask = randomBytes(4);
  frame.set(mask, 2 + width);
  for (let i = 0; i < length; i++) frame[6 + width + i] = (payload[i] ?? 0) ^ (mask[i & 3] ?? 0);
  return frame;
}

type Part =
  | { kind: 'data' | 'ping'; bytes: Uint8Array }
  | { kind: 'close'; bytes: Uint8Array; code: number | undefined; reason: string }
  | { kind: 'broken'; reason: string };

/** Reads what a server sends: frames that are not masked. */
export class FrameParser {
  /** The head of a frame, or a control frame, that has not come whole. */
  #rest = new Uint8Array();
  /** Bytes of a data frame that are still to come. */
  #left = 0;

  *push(chunk: Uint8Array): Generator<Part> {
    let bytes: Uint8Array = chunk;
    if (this.#rest.length) {
      bytes = new Uint8Array(this.#rest.length + chunk.length);
      bytes.set(this.#rest);
      bytes.set(chunk, this.#rest.length);
      this.#rest = new Uint8Array();
    }
    while (bytes.length) {
      if (this.#left) {
        const part = bytes.subarray(0, this.#left);
        this.#left -= part.length;
        bytes = bytes.subarray(part.length);
        yield { kind: 'data', bytes: part };
        continue;
      }
      const [first = 0, second = 0] = bytes;
      const short = second & 127;
      const head = short < 126 ? 2 : short === 126 ? 4 : 10;
      const isControl = (first & 8) !== 0;
      if (first & 0x70 || second & 0x80 || (isControl && short > MAX_CONTROL)) {
        return yield { kind: 'broken', reason: 'a WebSocket frame that no server may send' };
      }
      const need = isControl ? head + short : head;
      if (bytes.length < 2 || bytes.length < need) {
        this.#rest = bytes.slice();
        return;
      }
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const length = short < 126 ? short : short === 126 ? view.getUint16(2) : Number(view.getBigUint64(2));
      bytes = bytes.subarray(head);
      if (!isControl) {
        this.#left = length;
        continue;
      }
      const payload = bytes.subarray(0, length);
      bytes = bytes.subarray(length);
      switch (first & 15) {
        case 0x8: {
          const code =
            length >= 2 ? new DataView(payload.buffer, payload.byteOffset).getUint16(0) : undefined;
          const reason = new TextDecoder().decode(payload.subarray(2)) || `WebSocket close ${code ?? 1005}`;
          return yield { kind: 'close', bytes: payload, code, reason };
        }
        case 0x9:
          yield { kind: 'ping', bytes: payload };
          break;
        // A pong that was not asked for says nothing.
      }
    }
  }
}
