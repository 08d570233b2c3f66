// A document that arrives in parts: put together in order, checked by size and CRC-32C. Memory grows with the bytes that
// have come, never with the size that was announced.

import type { Position } from '../codec/message.ts';
import { FaultError } from '../error.ts';

/** CRC-32C (Castagnoli), one byte at a time; a document of 4 MiB takes some 15 ms. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export const samePlace = (a: Position, b: Position): boolean =>
  a.epoch === b.epoch && a.version === b.version;

const broken = () => new FaultError('a broken snapshot');

export class Assembly {
  readonly at: Position;
  readonly #max: number;
  #size: number | undefined;
  #length = 0;
  #crc = 0xffffffff;
  readonly #parts: Uint8Array[] = [];

  /** Waits for the `SnapshotBegin` of a document at `at` with at most `max` bytes. */
  constructor(at: Position, max: number) {
    this.at = at;
    this.#max = max;
  }

  begin(at: Position, size: bigint): void {
    if (this.#size !== undefined || !samePlace(at, this.at)) throw broken();
    if (size > this.#max) throw broken();
    this.#size = Number(size);
  }

  part(offset: bigint, part: Uint8Array): void {
    if (this.#size === undefined) throw broken();
    if (offset !== BigInt(this.#length) || part.length > this.#size - this.#length) {
      throw broken();
    }
    this.#parts.push(part.slice());
    this.#length += part.length;
    for (const byte of part) this.#crc = (TABLE[(this.#crc ^ byte) & 255] ?? 0) ^ (this.#crc >>> 8);
  }

  /** The whole text. */
  end(checksum: number): Uint8Array {
    if (this.#size !== this.#length) throw broken();
    if ((this.#crc ^ 0xffffffff) >>> 0 !== checksum) throw broken();
    const whole = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}
