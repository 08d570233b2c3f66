// JSON values that nobody changes: frozen, with parts shared between versions. The one place that sets members, so that a
// key like `__proto__` is a member like any other.

import type { Json } from '../api.ts';

/** An object or an array. */
export type Container = { [key: string]: Json } | Json[];

export const isContainer = (value: unknown): value is Container =>
  typeof value === 'object' && value !== null;

/** Sets an own member, whatever its name: an assignment to `__proto__` would set the prototype. */
export function setMember(object: Container, key: string | number, value: Json): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    (object as Record<string | number, Json>)[key] = value;
  }
}

/** An own member or item; `undefined` when there is none: what is inherited does not count. */
export const member = (container: Container, key: string | number): Json | undefined =>
  Object.hasOwn(container, key) ? (container as Record<string | number, Json>)[key] : undefined;

/** A copy of the container alone, not frozen; what it contains is shared. (Spreading keeps an own `__proto__`.) */
export const shallow = (container: Container): Container =>
  Array.isArray(container) ? container.slice() : { ...container };

/** Freezes a value at every depth; what is frozen already is not looked into. */
export function freeze<T>(value: T): T {
  if (isContainer(value) && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const key of Object.keys(value)) freeze((value as Record<string, Json>)[key]);
  }
  return value;
}

/** Reads JSON text: a frozen value. Throws `SyntaxError`. */
export const parseJson = (text: string): Json => freeze(JSON.parse(text) as Json);

/** Whether two values are the same JSON, as RFC 6902 §4.6 says. */
export function equal(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (!isContainer(a) || !isContainer(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every(key => {
      const other = member(b as Container, key);
      return other !== undefined && equal(member(a as Container, key) as Json, other);
    })
  );
}
