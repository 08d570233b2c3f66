// What lives as long as one connection: the handshake, the decoder, signs of life. Never anything that a reconnect must
// keep.

import type { Stream } from '../api.ts';
import { ProtocolError } from '../codec/error.ts';
import { Decoder } from '../codec/frame.ts';
import { decode, isFromServer, type Message, type MessageOf } from '../codec/message.ts';

/** The one version that this client speaks. */
export const VERSION = 1;
/** Below this no `Hello` would fit. */
const LEAST_CLIENT_FRAME = 16_384n;

/** What may come only before the handshake is done, and all that may. */
const BEFORE_ONLY = ['Welcome', 'Refused'];
const BEFORE = [...BEFORE_ONLY, 'Ping', 'Pong', 'Close', 'Response'];

/** Checks a message against the handshake: what may come before `Welcome`, and what `Welcome` may say. */
export class Handshake {
  isDone = false;

  receive(message: Message): void {
    const { type } = message;
    const isExpected = this.isDone ? !BEFORE_ONLY.includes(type) : BEFORE.includes(type);
    if (!isExpected || !isFromServer(type)) throw new ProtocolError('unexpected_message', type);
    if (type !== 'Welcome') return;
    if (message.version !== VERSION) throw new ProtocolError('unsupported_version');
    if (message.max_client_frame < LEAST_CLIENT_FRAME || !message.max_server_frame || !message.heartbeat_ms) {
      throw new ProtocolError('invalid_field');
    }
    this.isDone = true;
  }
}

/** What the clock asks for. */
export type Pulse = 'fine' | 'dead' | bigint;

export class Connection {
  readonly since: number;
  readonly handshake = new Handshake();
  /** `undefined` until it comes. */
  welcome: MessageOf<'Welcome'> | undefined;
  /** The round trip of the last `Ping`, and the time of `Hello` until then; milliseconds. */
  rtt: number | undefined;
  readonly #decoders: [Decoder, Decoder];
  #lastHeard: number;
  #lastSaid: number;
  /** When a `Ping` went out into silence. */
  #pinged: number | undefined;
  #nonce = 0n;
  /** When the last `Ping` went out. */
  #asked = 0;

  constructor(now: number, maxFrame: number) {
    this.since = now;
    this.#lastHeard = now;
    this.#lastSaid = now;
    this.#decoders = [new Decoder(maxFrame), new Decoder(maxFrame)];
  }

  heard(now: number, bytes: Uint8Array, stream: Stream): void {
    this.#lastHeard = now;
    this.#pinged = undefined;
    this.#decoders[stream].push(bytes);
  }

  said(now: number): void {
    this.#lastSaid = now;
  }

  /** A `Pong` came. */
  ponged(now: number, nonce: bigint): void {
    if (nonce === this.#nonce) this.rtt = now - this.#asked;
  }

  /** The next message of a stream; those that are not known and may be skipped are skipped. */
  next(stream: Stream): Message | undefined {
    for (;;) {
      const frame = this.#decoders[stream].next();
      if (!frame) return undefined;
      const message = decode(frame);
      if (!message) continue;
      // The session stream may be faster than the control stream, on which the handshake is.
      if (stream === 0 || this.handshake.isDone || !isFromServer(message.type))
        this.handshake.receive(message);
      return message;
    }
  }

  /** Silence after which a `Ping` is due: a quarter is left for the way and a late timer. */
  #interval(): number | undefined {
    // Even a server that asks for more gets no storm of pings.
    return this.welcome && (Math.max(this.welcome.heartbeat_ms, 100) * 3) / 4;
  }

  /** When {@link Connection.pulse} has something to say. */
  pulseAt(handshake: number, pong: number): number {
    const interval = this.#interval();
    if (interval === undefined) return this.since + handshake;
    if (this.#pinged === undefined) return Math.min(this.#lastHeard, this.#lastSaid) + interval;
    return Math.min(this.#pinged + pong, this.#lastSaid + interval);
  }

  /** Whether the connection lives, and the nonce of a `Ping` that is due. */
  pulse(now: number, handshake: number, pong: number): Pulse {
    const interval = this.#interval();
    if (interval === undefined) return now >= this.since + handshake ? 'dead' : 'fine';
    if (this.#pinged !== undefined && now >= this.#pinged + pong) return 'dead';
    const isQuiet = this.#pinged === undefined && now >= this.#lastHeard + interval;
    return now >= this.#lastSaid + interval || isQuiet ? this.ping(now) : 'fine';
  }

  /** The nonce of a `Ping` that goes out now. */
  ping(now: number): bigint {
    this.#pinged ??= now;
    this.#lastSaid = now;
    this.#asked = now;
    return ++this.#nonce;
  }
}
