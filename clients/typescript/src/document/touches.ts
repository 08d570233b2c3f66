// Which paths a patch touches, and when two patches that were made apart get in each other's way: the tables of the
// server's document/src/touches.rs. Here they decide which own updates build on each other.

import type { Patch } from '../api.ts';
import { covers, index, parent } from './pointer.ts';

/** What is touched at a path. Bits, so that a set of them is a number. */
export const VALUE = 1;
export const SHAPE = 2;
export const APPEND = 4;
export const LENGTH = 8;
export const READING = 16;

/** One touched path. */
export type Touch = readonly [pointer: string, kind: number];

/** Where the newer touch's path lies, seen from the older one's. */
type Relation = 'same' | 'inside' | 'around';

/** The second table of touches.rs: the kinds of newer touches that each kind of an older one overlaps. */
function overlapped(older: number, relation: Relation): number {
  switch (older) {
    case VALUE:
      return VALUE | READING | SHAPE;
    case READING:
      return VALUE | SHAPE;
    case SHAPE:
      return VALUE | READING | SHAPE | (relation === 'inside' ? APPEND : 0);
    case APPEND:
      return relation === 'inside' ? 0 : VALUE | READING | (relation === 'around' ? SHAPE : LENGTH);
    default:
      return relation === 'same' ? APPEND : 0;
  }
}

/** What `test` operations look at, as touches: an update that tests what an earlier one wrote builds on it. */
export const tested = (patch: Patch): Touch[] =>
  patch.filter(operation => operation.op === 'test').map(({ path }) => [path, VALUE]);

/** Pairs that are compared at most: what has more is taken to overlap, so that a chain may be longer than it has to be. */
const MOST_PAIRS = 20_000;

/** Whether the newer touches get in the way of the older ones. */
export function overlaps(older: readonly Touch[], newer: readonly Touch[]): boolean {
  if (older.length * newer.length > MOST_PAIRS) return true;
  return newer.some(([path, kind]) =>
    older.some(([pointer, before]) => {
      const relation =
        path === pointer ? 'same' : covers(pointer, path) ? 'inside' : covers(path, pointer) && 'around';
      return relation && (overlapped(before, relation) & kind) !== 0;
    }),
  );
}

/** Notes touches while a patch is applied, before each edit. */
export class Recorder {
  readonly touches: Touch[] = [];
  /** The arrays that this patch appended to, and at which index what it appended begins. */
  readonly #tails = new Map<string, number>();

  push(pointer: string, kind: number): void {
    this.touches.push([pointer, kind]);
  }

  /** A path is followed: an index into what this same patch appended counts on the array's length. */
  look(path: string, isInsert = false): void {
    for (const [array, begin] of this.#tails) {
      if (path.length === array.length || !covers(array, path)) continue;
      const below = path.slice(array.length + 1).split('/');
      const at = index(below[0] ?? '');
      if (!(isInsert && below.length === 1) && at !== undefined && at >= begin) this.push(array, LENGTH);
    }
  }

  append(path: string, length: number): void {
    const array = parent(path);
    this.push(array, APPEND);
    if (!this.#tails.has(array)) this.#tails.set(array, length);
  }

  insert(path: string, at: number): void {
    const array = parent(path);
    this.push(array, SHAPE);
    const begin = this.#tails.get(array);
    if (begin === undefined) return;
    if (at > begin) this.push(array, LENGTH);
    else this.#tails.set(array, begin + 1);
  }

  removeItem(path: string, at: number): void {
    const array = parent(path);
    this.push(array, SHAPE);
    const begin = this.#tails.get(array);
    if (begin !== undefined && at < begin) this.#tails.set(array, begin - 1);
  }
}
