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
  if (result instanceof Promise) throw new TypeError('a recipe is done when it returns: it cannot be async');
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
    if (this.#finished) throw new TypeError('this draft is finished: its recipe has returned');
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
    const node = isContainer(value) ? this.#nodes.get(value) : undefined;
    // A draft's own copies are still being changed.
    return freeze(toJson(node ? node.value : value, 0));
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
    const items = node.value as Json[];
    if (key === 'length') {
      const length = Number(given);
      if (!(length <= items.length)) throw new TypeError('an array in a draft grows by push');
      if (length < items.length) this.#splice(node, length, items.length - length, []);
      return true;
    }
    const at = index(key);
    if (at === undefined || at > items.length) throw new TypeError('an array has no holes and no names');
    if (at === items.length) this.#splice(node, at, 0, [given]);
    else if (!equal(items[at] as Json, this.#plain(given))) this.#splice(node, at, 1, [given]);
    return true;
  }

  #delete(node: Node, key: string): boolean {
    if (Array.isArray(node.value)) throw new TypeError('an array has no holes: use splice');
    if (member(node.value, key) === undefined) return true;
    this.#record(node, at => ({ op: 'remove', path: child(at, key) }));
    delete this.#own<Record<string, Json>>(node)[key];
    return true;
  }

  /** As `Array.prototype.splice`; what is exchanged one for one is replaced, what comes at the end is appended. */
  #splice(node: Node, at: number, removed: number, given: unknown[]): unknown[] {
    const items = given.map(item => this.#plain(item));
    const before = node.value as Json[];
    const taken = before.slice(at, at + removed).map((item, i) => this.#draft(item, node, at + i));
    const exchanged = Math.min(removed, items.length);
    if (removed > 1 && removed === before.length && !items.length) {
      this.#record(node, path => ({ op: 'replace', path, value: [] }));
      this.#own<Json[]>(node).length = 0;
      return taken;
    }
    const own = this.#own<Json[]>(node);
    for (const [i, value] of items.entries()) {
      const to = at + i;
      const isReplaced = i < exchanged;
      const name = !isReplaced && to === own.length ? '-' : to;
      this.#record(node, path => ({ op: isReplaced ? 'replace' : 'add', path: child(path, name), value }));
      own.splice(to, isReplaced ? 1 : 0, value);
    }
    for (let i = removed; i-- > exchanged; ) {
      this.#record(node, path => ({ op: 'remove', path: child(path, at + i) }));
      own.splice(at + i, 1);
    }
    return taken;
  }

  /** The methods of arrays that change them. All others read, and work on a draft as they are. */
  #arrayMethod(node: Node, name: string): unknown {
    const items = () => node.value as Json[];
    const clamp = (at: number, most: number) =>
      Math.min(Math.max(at < 0 ? items().length + at : at, 0), most);
    switch (name) {
      case 'push':
        return (...given: unknown[]) => {
          this.#splice(node, items().length, 0, given);
          return items().length;
        };
      case 'unshift':
        return (...given: unknown[]) => {
          this.#splice(node, 0, 0, given);
          return items().length;
        };
      case 'pop':
        return () => (items().length ? this.#splice(node, items().length - 1, 1, [])[0] : undefined);
      case 'shift':
        return () => (items().length ? this.#splice(node, 0, 1, [])[0] : undefined);
      case 'splice':
        return (start: number, count?: number, ...given: unknown[]) => {
          const at = clamp(Math.trunc(start) || 0, items().length);
          const most = items().length - at;
          const removed = count === undefined ? most : Math.min(Math.max(Math.trunc(count) || 0, 0), most);
          return this.#splice(node, at, removed, given);
        };
      case 'sort':
      case 'reverse':
      case 'fill':
      case 'copyWithin':
        // Every index may change: the array is replaced.
        return (...args: never[]) => {
          const proxy = this.#proxies.get(node) as unknown[];
          const changed = Array.from(proxy);
          (Array.prototype[name] as (...args: never[]) => unknown).apply(changed, args);
          const value = changed.map(item => this.#plain(item));
          if (equal(value, items())) return proxy;
          this.#record(node, path => ({ op: 'replace', path, value: freeze(value) }));
          this.#own<Json[]>(node).splice(0, items().length, ...value);
          return proxy;
        };
      default:
        return undefined;
    }
  }

  #handler(node: Node): ProxyHandler<object> {
    const refuse = () => {
      throw new TypeError('a draft is changed by assignment');
    };
    return {
      get: (target, key) => {
        const isArray = Array.isArray(node.value);
        if (typeof key === 'symbol') return isArray ? Reflect.get(target, key) : undefined;
        if (Object.hasOwn(node.value, key)) {
          return this.#draft(member(node.value, key), node, isArray && key !== 'length' ? Number(key) : key);
        }
        // An object's draft has no inherited members: nobody gets at a prototype by a name out of the document.
        return isArray && key !== 'constructor' && key !== '__proto__'
          ? (this.#arrayMethod(node, key) ?? Reflect.get(target, key))
          : undefined;
      },
      set: (_, key, value) => (typeof key === 'symbol' ? refuse() : this.#set(node, key, value)),
      deleteProperty: (_, key) => (typeof key === 'symbol' ? true : this.#delete(node, key)),
      has: (_, key) => Object.hasOwn(node.value, key),
      ownKeys: () => Reflect.ownKeys(node.value),
      getOwnPropertyDescriptor: (_, key) => {
        if (typeof key === 'symbol' || !Object.hasOwn(node.value, key)) return undefined;
        const isLength = Array.isArray(node.value) && key === 'length';
        const value = this.#draft(member(node.value, key), node, isLength ? key : key);
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
  if (depth > MAX_DEPTH) throw new TypeError('a value is nested too deep');
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
