// Frames out of a stream of bytes, whatever chunks it comes in. Memory grows with what has come, never with what a length
// announces. Knows no message.

import type { Writer } from './bytes.ts';
import { ProtocolError } from './error.ts';

/** Writes a number in the shortest form of RFC 9000 §16. Numbers here are below 2^30: types and lengths. */
export function encodeVarint(to: Writer, value: number): void {
  const width = value < 64 ? 0 : value < 16_384 ? 1 : 2;
  const bytes = 1 << width;
  for (let i = bytes; i-- > 0; ) to.byte(((value >>> (8 * i)) & 255) | (i === bytes - 1 ? width << 6 : 0));
}

/** Reads such a number; `undefined` when more bytes are needed. Above 2^53 `value` is rounded, `isOdd` never. */
export function decodeVarint(
  bytes: Uint8Array,
  at: number,
): { value: number; isOdd: boolean; end: number } | undefined {
  const first = bytes[at];
  if (first === undefined) return undefined;
  const end = at + (1 << (first >> 6));
  if (end > bytes.length) return undefined;
  let value = first & 63;
  let last = first;
  for (let i = at + 1; i < end; i++) {
    last = bytes[i] ?? 0;
    value = value * 256 + last;
  }
  return { value, isOdd: (last & 1) === 1, end };
}

/** Cuts frames out of chunks. */
export class Decoder {
  #buffer = new Uint8Array();
  #begin = 0;
  #end = 0;
  readonly #max: number;

  /** Frames of more than `max` bytes (type and body) are refused. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Bytes that are not a whole frame yet. */
  get rest(): number {
    return this.#end - this.#begin;
  }

  push(chunk: Uint8Array): void {
    const rest = this.rest;
    if (!rest) {
      // Read where it is: most chunks hold whole frames.
      this.#buffer = chunk as Uint8Array<ArrayBuffer>;
      this.#begin = 0;
      this.#end = chunk.length;
      return;
    }
    const grown = new Uint8Array(Math.max(rest + chunk.length, 2 * rest));
    grown.set(this.#buffer.subarray(this.#begin, this.#end));
    grown.set(chunk, rest);
    this.#buffer = grown;
    this.#begin = 0;
    this.#end = rest + chunk.length;
  }

  /** The next frame without its length, a view; `undefined` when more bytes are needed. */
  next(): Uint8Array | undefined {
    const bytes = this.#buffer.subarray(0, this.#end);
    const head = decodeVarint(bytes, this.#begin);
    if (!head) return undefined;
    if (head.value === 0) throw new ProtocolError('malformed_frame');
    if (head.value > this.#max) {
      throw new ProtocolError('frame_too_large');
    }
    const end = head.end + head.value;
    if (end > this.#end) return undefined;
    this.#begin = end;
    return bytes.subarray(head.end, end);
  }
}
