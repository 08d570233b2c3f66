// WebTransport against WebSocket: which of the two stands first, with a head start for the first. What won is remembered.

import type { Link, LinkHandler, Stream, Transport, TransportTarget } from '../api.ts';

/** WebSocket starts this much later, or at once when WebTransport has failed: some networks swallow UDP without a word. */
const HEAD_START = 200;
/** How long WebSocket alone is tried after it has won, milliseconds. */
const REMEMBER = 600_000;

/** Where it is remembered that the second has won: in the page's storage, for as long as `REMEMBER`. */
export interface Memory {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** A transport that tries `first`, then `second` as well, and goes on with the one that stands first. */
export const race = (
  first: Transport,
  second: Transport,
  memory: Memory | undefined = storage(),
): Transport => ({
  open: (target, handler) => new Race(first, second, memory, target, handler),
});

class Race implements Link {
  #winner: Link | undefined;
  readonly #running = new Map<Transport, Link>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waiting: Transport | undefined;
  readonly #target: TransportTarget;
  readonly #handler: LinkHandler;

  constructor(
    first: Transport,
    second: Transport,
    memory: Memory | undefined,
    target: TransportTarget,
    handler: LinkHandler,
  ) {
    this.#target = target;
    this.#handler = handler;
    const key = `syncbridge ${target.url.host}`;
    const won = (transport: Transport) => {
      if (transport === second) memory?.setItem(key, String(Date.now() + REMEMBER));
      else memory?.removeItem(key);
    };
    if (Number(memory?.getItem(key) ?? 0) > Date.now()) {
      this.#run(second, won);
      return;
    }
    this.#waiting = second;
    this.#timer = setTimeout(() => this.#runWaiting(won), HEAD_START);
    this.#run(first, won);
  }

  #runWaiting(won: (transport: Transport) => void): void {
    clearTimeout(this.#timer);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) this.#run(waiting, won);
  }

  #run(transport: Transport, won: (transport: Transport) => void): void {
    const link = transport.open(this.#target, {
      onOpen: name => {
        clearTimeout(this.#timer);
        this.#waiting = undefined;
        this.#winner = link;
        this.#running.delete(transport);
        this.#closeRunning('another was faster');
        won(transport);
        this.#handler.onOpen(name);
      },
      onBytes: (bytes, stream) => this.#handler.onBytes(bytes, stream),
      onDrain: () => this.#handler.onDrain(),
      onClose: (code, reason) => {
        this.#running.delete(transport);
        // An answer of the server's is one, whatever the transport; else the other one may do.
        if (!this.#winner) this.#runWaiting(won);
        if (!this.#running.size) this.#handler.onClose(code, reason);
      },
    });
    this.#running.set(transport, link);
  }

  #closeRunning(reason: string): void {
    for (const link of this.#running.values()) link.close(0, reason);
    this.#running.clear();
  }

  get streams(): 1 | 2 {
    return this.#winner?.streams ?? 1;
  }

  get buffered(): number {
    return this.#winner?.buffered ?? 0;
  }

  send(bytes: Uint8Array, stream: Stream): void {
    this.#winner?.send(bytes, stream);
  }

  close(code: number, reason: string): void {
    clearTimeout(this.#timer);
    this.#waiting = undefined;
    this.#winner?.close(code, reason);
    this.#closeRunning(reason);
  }
}

/** A page may be forbidden to store anything. */
function storage(): Memory | undefined {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}
