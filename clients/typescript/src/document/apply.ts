// JSON Patch (RFC 6902) on frozen documents: whole or not at all, with the lenient `add` of the live protocol. What is not
// on the way to a change is shared between the old document and the new one.

import type { Json, Operation, Patch } from '../api.ts';
import { PatchError } from './error.ts';
import { covers, index, parts } from './pointer.ts';
import { READING, Recorder, type Touch, VALUE } from './touches.ts';
import { type Container, equal, freeze, isContainer, member, setMember, shallow } from './value.ts';

/** As the server has it, for own patches. */
export const MAX_OPERATIONS = 1_000;

const missing = (path: string) => new PatchError('path_not_found', path);

/** What came of a patch. */
export interface Applied {
  document: Json;
  touches: readonly Touch[];
}

/** The document with the patch applied. Throws {@link PatchError}; the document given is never changed. */
export function apply(document: Json, patch: Patch, lenient: boolean): Applied {
  const run = new Run(document, lenient);
  for (const operation of patch) run.operation(operation);
  return { document: freeze(run.document), touches: run.touches.touches };
}

/** Checks that a value read from JSON is a patch. Throws {@link PatchError}. */
export function checkPatch(value: unknown): Patch {
  const wrong = () => new PatchError('invalid_patch', 'no JSON Patch');
  if (!Array.isArray(value)) throw wrong();
  for (const operation of value as Partial<Record<string, unknown>>[]) {
    if (!isContainer(operation)) throw wrong();
    const of = (key: string) => member(operation as Container, key);
    const needs = { add: 'value', replace: 'value', test: 'value', move: 'from', copy: 'from', remove: 'op' };
    const need = Object.entries(needs).find(([op]) => op === of('op'))?.[1];
    if (!need) throw wrong();
    if (of(need) === undefined) throw wrong();
    for (const pointer of need === 'from' ? ['path', 'from'] : ['path']) {
      const text = of(pointer);
      if (typeof text !== 'string') throw wrong();
      parts(text);
    }
  }
  return value as unknown as Patch;
}

/** Where a pointer ends. */
interface Place {
  /** What holds it; `undefined` for the whole document. */
  container: Container | undefined;
  key: string | number;
  /** What is there; `undefined`: nothing yet. */
  value: Json | undefined;
}

/** A member on the way is missing: how many parts of the pointer lead to it. */
class MissingParent extends PatchError {
  readonly depth: number;
  constructor(path: string, depth: number) {
    super('path_not_found', path);
    this.depth = depth;
  }
}

class Run {
  document: Json;
  readonly touches = new Recorder();
  readonly #lenient: boolean;
  /** The containers that this run has copied, so that each is copied once. */
  readonly #own = new Set<Container>();

  constructor(document: Json, lenient: boolean) {
    this.document = document;
    this.#lenient = lenient;
  }

  operation(operation: Operation): void {
    const { path } = operation;
    switch (operation.op) {
      case 'add':
        return this.#add(path, operation.value, this.#lenient);
      case 'replace': {
        this.#find(path);
        this.touches.look(path);
        this.touches.push(path, VALUE);
        return this.#put(path, operation.value);
      }
      case 'remove':
        return this.#remove(path);
      case 'move': {
        const value = this.#find(operation.from);
        if (operation.from === path) return this.touches.push(path, READING);
        if (covers(operation.from, path)) throw new PatchError('invalid_patch', path);
        this.#remove(operation.from);
        return this.#add(path, value, false);
      }
      case 'copy': {
        const value = this.#find(operation.from);
        this.touches.look(operation.from);
        this.touches.push(operation.from, READING);
        return this.#add(path, value, false);
      }
      case 'test': {
        const found = this.#find(path);
        this.touches.look(path);
        if (!equal(found, operation.value)) throw new PatchError('test_failed', path);
      }
    }
  }

  /** Follows a pointer; with `own`, through copies that may be changed. */
  #place(path: string, own = false): Place {
    const keys = parts(path);
    let container: Container | undefined;
    let key: string | number = '';
    let value: Json | undefined = this.document;
    for (const [depth, part] of keys.entries()) {
      if (value === undefined)
        throw Array.isArray(container) ? missing(path) : new MissingParent(path, depth);
      if (!isContainer(value)) throw missing(path);
      const inside: Container = own ? this.#owned(container, key, value) : value;
      if (Array.isArray(inside)) {
        const at: number | undefined = part === '-' ? inside.length : index(part);
        if (at === undefined || at > inside.length) throw missing(path);
        key = at;
      } else {
        key = part;
      }
      container = inside;
      value = member(inside, key);
    }
    return { container, key, value };
  }

  #owned(container: Container | undefined, key: string | number, value: Container): Container {
    if (this.#own.has(value)) return value;
    const copy = shallow(value);
    this.#own.add(copy);
    if (container) setMember(container, key, copy);
    else this.document = copy;
    return copy;
  }

  /** The value at a path. */
  #find(path: string): Json {
    const { value } = this.#place(path);
    if (value === undefined) throw missing(path);
    return value;
  }

  /** Sets what is at a path, or the member that is not there yet. */
  #put(path: string, value: Json): void {
    const { container, key } = this.#place(path, true);
    if (container) setMember(container, key, value);
    else this.document = value;
  }

  #add(path: string, value: Json, lenient: boolean): void {
    let place: Place;
    try {
      place = this.#place(path);
    } catch (error) {
      if (lenient && error instanceof MissingParent) return this.#addWithParents(path, error.depth, value);
      throw error;
    }
    this.touches.look(path, true);
    const { container, key } = place;
    if (!Array.isArray(container)) {
      this.touches.push(path, VALUE);
      return this.#put(path, value);
    }
    if (path.endsWith('/-')) this.touches.append(path, container.length);
    else this.touches.insert(path, key as number);
    const own = this.#place(path, true).container as Json[];
    own.splice(key as number, 0, value);
  }

  /** Adds inside new objects, the first of which `depth` parts of the pointer lead to. */
  #addWithParents(path: string, depth: number, value: Json): void {
    const keys = parts(path);
    let nested = value;
    for (let i = keys.length - 1; i >= depth; i--) {
      const key = keys[i] as string;
      if (key === '-' && i < keys.length - 1) throw missing(path);
      const outer: Container = key === '-' ? [] : {};
      setMember(outer, key === '-' ? 0 : key, nested);
      nested = outer;
    }
    // The added value counts, not the parents: two such adds with different ends go together.
    if (path.endsWith('/-')) this.touches.append(path, 0);
    else this.touches.push(path, VALUE);
    this.#put(
      path
        .split('/')
        .slice(0, depth + 1)
        .join('/'),
      nested,
    );
  }

  #remove(path: string): void {
    const { container, key, value } = this.#place(path);
    if (!container) throw new PatchError('path_not_found', path);
    if (value === undefined) throw missing(path);
    this.touches.look(path);
    if (Array.isArray(container)) this.touches.removeItem(path, key as number);
    else this.touches.push(path, VALUE);
    const own = this.#place(path, true).container as Container;
    if (Array.isArray(own)) own.splice(key as number, 1);
    else delete own[key as string];
  }
}
