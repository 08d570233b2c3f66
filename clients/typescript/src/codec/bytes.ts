// Numbers, text and bytes as proto-spec/framing.md lays them out. Knows no message, and reserves no memory by what a
// length announces.

import { ProtocolError } from './error.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** JSON or other text as UTF-8. */
export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** Reads UTF-8. Throws {@link ProtocolError} when it is none. */
export function text(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw malformed();
  }
}

const malformed = () => new ProtocolError('malformed_message');

/** Reads one body from its beginning to its end. */
export class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isEmpty(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw malformed();
    return byte;
  }

  /** `length` bytes: a view, not a copy. */
  take(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw malformed();
    const part = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }

  /** A number of at most `bits` bits. */
  number(bits: 32 | 64 | 128): bigint {
    const first = this.byte();
    if (first < 251) return BigInt(first);
    if (first === 255) throw malformed();
    const bytes = this.take(2 << (first - 251));
    let value = 0n;
    for (let i = bytes.length; i-- > 0; ) value = (value << 8n) | BigInt(bytes[i] ?? 0);
    if (value >> BigInt(bits)) throw malformed();
    return value;
  }

  /** A length or a count. What is beyond 2^53 is beyond every body too. */
  length(): number {
    return Number(this.number(64));
  }
}

/** Writes one frame. */
export class Writer {
  #bytes = new Uint8Array(256);
  #length = 0;

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + more));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = byte;
  }

  put(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  number(value: bigint): void {
    if (value < 251n) return this.byte(Number(value));
    const width = [16n, 32n, 64n, 128n].findIndex(bits => !(value >> bits));
    this.byte(251 + width);
    for (let i = 0; i < 2 << width; i++) this.byte(Number((value >> BigInt(8 * i)) & 255n));
  }

  bytes(bytes: Uint8Array): void {
    this.number(BigInt(bytes.length));
    this.put(bytes);
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}
