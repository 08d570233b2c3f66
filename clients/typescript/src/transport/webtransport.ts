// WebTransport as browsers have it, with the two streams of proto-spec/transports.md. Loaded only where there is one. Sees
// bytes only, but for the first frame of the session stream.

import type { Link, LinkHandler, Stream, Transport, TransportTarget } from '../api.ts';
import { encode } from '../codec/message.ts';
import { shorten } from './websocket.ts';

/** What `GET /api/v1/webtransport` answers. */
interface Offer {
  url: string;
  protocols: string[];
  serverCertificateHashes: { algorithm: string; value: string }[];
}

export const webTransport = (): Transport => ({
  open: (target, handler) => new TransportLink(target, handler),
});

class TransportLink implements Link {
  readonly streams = 2;
  buffered = 0;
  readonly #handler: LinkHandler;
  #session: WebTransport | undefined;
  #writers: WritableStreamDefaultWriter<Uint8Array>[] = [];
  #isClosed = false;
  readonly #abort = new AbortController();

  constructor(target: TransportTarget, handler: LinkHandler) {
    this.#handler = handler;
    this.#open(target).catch((error: unknown) => this.#end(undefined, String(error)));
  }

  async #open({ url }: TransportTarget): Promise<void> {
    const told = await fetch(new URL('/api/v1/webtransport', url), { signal: this.#abort.signal });
    if (!told.ok) throw new Error(`the server does not offer WebTransport (${told.status})`);
    const { url: at, protocols, serverCertificateHashes } = (await told.json()) as Offer;
    const hashes = serverCertificateHashes.map(({ algorithm, value }) => ({
      algorithm,
      value: bytes(value),
    }));
    // The option must not be there when the certificate is one that browsers trust.
    const options = { protocols, ...(hashes.length ? { serverCertificateHashes: hashes } : {}) };
    if (this.#isClosed) return;
    const session = new WebTransport(at, options);
    this.#session = session;
    session.closed.then(
      ({ closeCode, reason }) => this.#end(closeCode || undefined, reason ?? ''),
      (error: unknown) => this.#end(undefined, String(error)),
    );
    await session.ready;
    for (const stream of [0, 1] as const) {
      const { readable, writable } = await session.createBidirectionalStream();
      this.#writers.push(writable.getWriter());
      this.#read(readable, stream).catch((error: unknown) => this.#end(undefined, String(error)));
    }
    if (this.#isClosed) return session.close();
    this.#write(encode({ type: 'StreamOpen', class: 1 }), 1);
    this.#handler.onOpen('webtransport');
  }

  async #read(readable: ReadableStream<Uint8Array>, stream: Stream): Promise<void> {
    const reader = readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.#isClosed) return;
      this.#handler.onBytes(value, stream);
    }
  }

  #write(bytes: Uint8Array, stream: Stream): void {
    this.buffered += bytes.length;
    this.#writers[stream]?.write(bytes).then(
      () => {
        this.buffered -= bytes.length;
        if (!this.#isClosed) this.#handler.onDrain();
      },
      // Why is told by `closed`.
      () => {},
    );
  }

  send(bytes: Uint8Array, stream: Stream): void {
    if (!this.#isClosed) this.#write(bytes, stream);
  }

  #end(code: number | undefined, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#session?.close();
    this.#handler.onClose(code, reason);
  }

  close(closeCode: number, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#abort.abort();
    const session = this.#session;
    const close = () => session?.close({ closeCode, reason: shorten(reason) });
    // What was sent last is to arrive.
    Promise.all(this.#writers.map(writer => writer.close())).then(close, close);
  }
}

/** Hexadecimal digits. */
const bytes = (hex: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(hex.match(/../g) ?? [], pair => Number.parseInt(pair, 16));
