// A draft of a document: changes made to it as to any JavaScript value are recorded as a JSON Patch. The document itself is
// never touched, and neither is any prototype: a draft has no inherited members.

import type { Json, Operation, Patch } from '../api.ts';
import { child, index } from './pointer.ts';
import { type Container, equal, freeze, isContainer, member, setMember, shallow } from './value.ts';

/** Runs the recipe on a draft of the document and returns what it did. Throws what the recipe throws. */
export function record(document: Json, recipe: (draft: never) => unknown): Patch {
  const drafting = new Drafting(document);
  const result = recipe(drafting.root as never);
  drafting.finish();
  if (result instanceof Promise) throw new TypeError('a recipe cannot be async');
  return drafting.operations;
}

/** Behind each proxy: the value that it stands for, and where that is. */
interface Node {
  value: Container;
  /** Whether `value` is a copy of this draft's, which may be changed. */
  isOwn: boolean;
  parent: Node | undefined;
  key: string | number;
}

/** The methods of arrays that change them. All others read, and work on a draft as they are. */
const MUTATORS = new Set('push,pop,shift,unshift,splice,sort,reverse,fill,copyWithin'.split(','));

class Drafting {
  readonly operations: Operation[] = [];
  readonly root: unknown;
  #document: Json;
  #finished = false;
  readonly #proxies = new WeakMap<Node, object>();
  readonly #nodes = new WeakMap<object, Node>();
  /** The node that stands for a value, by the value: the same draft for the same thing, wherever an index has moved it. */
  readonly #byValue = new WeakMap<Container, Node>();

  constructor(document: Json) {
    this.#document = document;
    this.root = this.#draft(document, undefined, '');
  }

  finish(): void {
    this.#finished = true;
  }

  /** A value of the document as the recipe sees it. */
  #draft(value: Json | undefined, parent: Node | undefined, key: string | number): unknown {
    if (!isContainer(value)) return value;
    let node = this.#byValue.get(value);
    // The same frozen value may stand at two places.
    if (!node || node.parent !== parent || (this.#pointer(node) === undefined && parent)) {
      node = { value, isOwn: false, parent, key };
      this.#byValue.set(value, node);
    }
    if (!Array.isArray(parent?.value)) node.key = key;
    let proxy = this.#proxies.get(node);
    if (!proxy) {
      proxy = new Proxy(Array.isArray(value) ? [] : {}, this.#handler(node));
      this.#proxies.set(node, proxy);
      this.#nodes.set(proxy, node);
    }
    return proxy;
  }

  /** Where a node is now; `undefined` when it is no longer part of the document. */
  #pointer(node: Node): string | undefined {
    const { parent } = node;
    if (!parent) return this.#document === node.value ? '' : undefined;
    const above = this.#pointer(parent);
    if (above === undefined) return undefined;
    if (member(parent.value, node.key) !== node.value) {
      const at = Array.isArray(parent.value) ? parent.value.indexOf(node.value) : -1;
      if (at < 0) return undefined;
      node.key = at;
    }
    return child(above, node.key);
  }

  /** The node's value, as a copy that may be changed; so are all around it. */
  #own<T extends Container>(node: Node): T {
    if (!node.isOwn) {
      const isThere = this.#pointer(node) !== undefined;
      const before = node.value;
      node.value = shallow(before);
      node.isOwn = true;
      this.#byValue.set(node.value, node);
      if (isThere && node.parent) setMember(this.#own(node.parent), node.key, node.value);
      else if (isThere) this.#document = node.value;
    }
    return node.value as T;
  }

  #record(node: Node, make: (pointer: string) => Operation): void {
    if (this.#finished) throw new TypeError('the recipe has returned');
    const pointer = this.#pointer(node);
    if (pointer === undefined) return;
    const operation = make(pointer);
    const last = this.operations.at(-1);
    // The same member set twice in a row is set once.
    if (
      operation.op === 'replace' &&
      last &&
      'value' in last &&
      last.op !== 'test' &&
      last.path === operation.path
    ) {
      this.operations[this.operations.length - 1] = { ...last, value: operation.value };
    } else {
      this.operations.push(operation);
    }
  }

  /** What the recipe gives, as JSON: drafts become what they stand for. */
  #plain(value: unknown): Json {
    // A draft's own copies are still being changed.
    return freeze(toJson(this.#raw(value)));
  }

  /** What a draft stands for; anything else as it is. */
  #raw(value: unknown): unknown {
    return (isContainer(value) && this.#nodes.get(value)?.value) || value;
  }

  #set(node: Node, key: string, given: unknown): boolean {
    if (Array.isArray(node.value)) return this.#setItem(node, key, given);
    const before = member(node.value, key);
    if (given === undefined) return before === undefined || this.#delete(node, key);
    const value = this.#plain(given);
    if (before !== undefined && equal(before, value)) return true;
    this.#record(node, at => ({ op: before === undefined ? 'add' : 'replace', path: child(at, key), value }));
    setMember(this.#own(node), key, value);
    return true;
  }

  #setItem(node: Node, key: string, given: unknown): boolean {
    const items = (node.value as Json[]).slice() as unknown[];
    const at = key === 'length' ? Number(given) : index(key);
    // An array has no holes and no names.
    if (at === undefined || !(at <= items.length)) throw new TypeError(`no array item: ${key}`);
    if (key === 'length') items.length = at;
    else items[at] = given;
    this.#arrange(node, items);
    return true;
  }

  #delete(node: Node, key: string): boolean {
    if (Array.isArray(node.value)) throw new TypeError('no array item');
    if (member(node.value, key) === undefined) return true;
    this.#record(node, at => ({ op: 'remove', path: child(at, key) }));
    delete this.#own<Record<string, Json>>(node)[key];
    return true;
  }

  /**
   * Makes an array's items these. What is between the items at the beginning and at the end that stay where they are is
   * exchanged one for one; what is over is removed, what is new inserted, or appended at the end.
   */
  #arrange(node: Node, given: unknown[]): void {
    const before = node.value as Json[];
    const items = given.map(item => this.#raw(item));
    const isSame = (a: number, b: number) =>
      items[a] === before[b] || equal(items[a] as Json, before[b] as Json);
    const most = Math.min(items.length, before.length);
    let begin = 0;
    while (begin < most && isSame(begin, begin)) begin++;
    let end = 0;
    while (end < most - begin && isSame(items.length - 1 - end, before.length - 1 - end)) end++;
    const own = this.#own<Json[]>(node);
    const changed = items.slice(begin, items.length - end).map(item => this.#plain(item));
    const exchanged = Math.min(changed.length, own.length - end - begin);
    for (let at = own.length - end; at-- > begin + exchanged; ) {
      this.#record(node, path => ({ op: 'remove', path: child(path, at) }));
      own.splice(at, 1);
    }
    for (const [i, value] of changed.entries()) {
      const at = begin + i;
      const op = i < exchanged ? 'replace' : 'add';
      const name = op === 'add' && at === own.length ? '-' : at;
      this.#record(node, path => ({ op, path: child(path, name), value }));
      own.splice(at, i < exchanged ? 1 : 0, value);
    }
  }

  /** A method of arrays: on a copy of the items, whose changes are recorded. */
  #arrayMethod(node: Node, method: (...args: unknown[]) => unknown): unknown {
    return (...args: unknown[]) => {
      const proxy = this.#proxies.get(node);
      const items = [...(proxy as unknown[])];
      const result = method.apply(items, args);
      this.#arrange(node, items);
      return result === items ? proxy : result;
    };
  }

  #handler(node: Node): ProxyHandler<object> {
    const refuse = () => {
      throw new TypeError('not in a draft');
    };
    return {
      get: (target, key) => {
        const isArray = Array.isArray(node.value);
        if (typeof key === 'symbol') return isArray ? Reflect.get(target, key) : undefined;
        if (Object.hasOwn(node.value, key)) {
          return this.#draft(member(node.value, key), node, isArray && key !== 'length' ? Number(key) : key);
        }
        // A draft has no inherited members but an array's methods: nobody gets at a prototype by a name out of the document.
        if (!isArray || key === 'constructor' || key === '__proto__') return undefined;
        const method = Reflect.get(target, key);
        return MUTATORS.has(key) ? this.#arrayMethod(node, method) : method;
      },
      set: (_, key, value) => (typeof key === 'symbol' ? refuse() : this.#set(node, key, value)),
      deleteProperty: (_, key) => (typeof key === 'symbol' ? true : this.#delete(node, key)),
      has: (_, key) => Object.hasOwn(node.value, key),
      ownKeys: () => Reflect.ownKeys(node.value),
      getOwnPropertyDescriptor: (_, key) => {
        if (typeof key === 'symbol' || !Object.hasOwn(node.value, key)) return undefined;
        const isLength = Array.isArray(node.value) && key === 'length';
        const value = this.#draft(member(node.value, key), node, key);
        return { value, writable: true, enumerable: !isLength, configurable: !isLength };
      },
      defineProperty: refuse,
      setPrototypeOf: refuse,
      preventExtensions: refuse,
    };
  }
}

/** As the server: deeper values are refused. */
const MAX_DEPTH = 64;

/** A copy of a value as JSON. Members that are `undefined` are left out; what JSON cannot say is a `TypeError`. */
export function toJson(value: unknown, depth = 0): Json {
  if (depth > MAX_DEPTH) throw new TypeError('nested too deep');
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (!Number.isFinite(value)) throw new TypeError(`JSON has no ${value}`);
      return value;
    case 'object': {
      if (value === null) return null;
      if (Array.isArray(value)) return value.map(item => toJson(item, depth + 1));
      const { toJSON } = value as { toJSON?: unknown };
      if (typeof toJSON === 'function') return toJson(toJSON.call(value), depth);
      const copy: Container = {};
      for (const [key, item] of Object.entries(value)) {
        if (item !== undefined) setMember(copy, key, toJson(item, depth + 1));
      }
      return copy;
    }
    default:
      throw new TypeError(`JSON has no ${typeof value}`);
  }
}
