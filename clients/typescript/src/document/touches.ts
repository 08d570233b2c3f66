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

/** The paths of one patch, ready to be compared with many others. */
export class Touches {
  readonly #all: readonly Touch[];
  /** The kinds at a path. */
  #at: Map<string, number> | undefined;
  /** The kinds inside of a path. */
  readonly #inside = new Map<string, number>();

  constructor(all: readonly Touch[]) {
    this.#all = all;
  }

  #index(): Map<string, number> {
    if (this.#at) return this.#at;
    const at = new Map<string, number>();
    for (const [pointer, kind] of this.#all) {
      at.set(pointer, (at.get(pointer) ?? 0) | kind);
      for (let around = pointer; around; ) {
        around = parent(around);
        this.#inside.set(around, (this.#inside.get(around) ?? 0) | kind);
      }
    }
    this.#at = at;
    return at;
  }

  /** Whether this patch, the newer one, gets in the way of the older one's touches. */
  overlaps(older: readonly Touch[]): boolean {
    const at = this.#index();
    return older.some(([pointer, kind]) => {
      if ((at.get(pointer) ?? 0) & overlapped(kind, 'same')) return true;
      if ((this.#inside.get(pointer) ?? 0) & overlapped(kind, 'inside')) return true;
      const around = overlapped(kind, 'around');
      for (let above = pointer; above; ) {
        above = parent(above);
        if ((at.get(above) ?? 0) & around) return true;
      }
      return false;
    });
  }
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
