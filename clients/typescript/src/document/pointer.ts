// JSON Pointers (RFC 6901). Knows no document.

import { PatchError } from './error.ts';

/** As the server has it: more parts are refused. */
const MAX_PARTS = 64;

/** The parts of a pointer, unescaped. */
export function parts(pointer: string): string[] {
  if (pointer === '') return [];
  if (pointer[0] !== '/' || /~(?![01])/.test(pointer)) throw new PatchError('invalid_patch', pointer);
  const parts = pointer.slice(1).split('/');
  if (parts.length > MAX_PARTS) throw new PatchError('invalid_patch', pointer);
  return parts.map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** The pointer with one part more, which is escaped. */
export const child = (pointer: string, part: string | number): string =>
  `${pointer}/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`;

/** The pointer without its last part. */
export const parent = (pointer: string): string => pointer.slice(0, Math.max(0, pointer.lastIndexOf('/')));

/** Whether `ancestor` is `pointer` or leads to a value that it lies in. */
export const covers = (ancestor: string, pointer: string): boolean =>
  pointer.startsWith(ancestor) && (pointer.length === ancestor.length || pointer[ancestor.length] === '/');

/** An array index as RFC 6901 writes it. */
export const index = (part: string): number | undefined =>
  /^(0|[1-9]\d*)$/.test(part) ? Number(part) : undefined;
