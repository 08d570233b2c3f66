// The tables of document/src/touches.rs, line by line.

import { expect, test } from 'vitest';
import type { Json, Patch } from '../../src/api.ts';
import { apply } from '../../src/document/apply.ts';
import { APPEND, LENGTH, overlaps, READING, SHAPE, type Touch, VALUE } from '../../src/document/touches.ts';
import { freeze } from '../../src/document/value.ts';

const touches = (document: Json, patch: Patch, lenient = false) =>
  apply(freeze(document), patch, lenient).touches;

test.each<[string, Json, Patch, Touch[]]>([
  ['a member is added', {}, [{ op: 'add', path: '/a', value: 1 }], [['/a', VALUE]]],
  ['an item is replaced', [1], [{ op: 'replace', path: '/0', value: 2 }], [['/0', VALUE]]],
  ['an item is appended', { a: [] }, [{ op: 'add', path: '/a/-', value: 1 }], [['/a', APPEND]]],
  ['an item is inserted', { a: [1] }, [{ op: 'add', path: '/a/0', value: 1 }], [['/a', SHAPE]]],
  ['a member is removed', { a: 1 }, [{ op: 'remove', path: '/a' }], [['/a', VALUE]]],
  ['an item is removed', { a: [1] }, [{ op: 'remove', path: '/a/0' }], [['/a', SHAPE]]],
  [
    'a value is copied',
    { a: 1 },
    [{ op: 'copy', from: '/a', path: '/b' }],
    [
      ['/a', READING],
      ['/b', VALUE],
    ],
  ],
  [
    'a value is moved',
    { a: 1 },
    [{ op: 'move', from: '/a', path: '/b' }],
    [
      ['/a', VALUE],
      ['/b', VALUE],
    ],
  ],
  ['a value is tested', { a: 1 }, [{ op: 'test', path: '/a', value: 1 }], []],
  [
    'an item is named that the same patch appended',
    { a: [1] },
    [
      { op: 'add', path: '/a/-', value: {} },
      { op: 'add', path: '/a/1/x', value: 1 },
    ],
    [
      ['/a', APPEND],
      ['/a', LENGTH],
      ['/a/1/x', VALUE],
    ],
  ],
])('touched when %s', (_, document, patch, expected) => {
  expect(touches(document, patch)).toEqual(expected);
});

test('objects that a lenient add makes on its way are not touched by themselves', () => {
  expect(touches({}, [{ op: 'add', path: '/a/b', value: 1 }], true)).toEqual([['/a/b', VALUE]]);
  expect(touches({}, [{ op: 'add', path: '/a/-', value: 1 }], true)).toEqual([['/a', APPEND]]);
});

const SAME = '/a/b';
const INSIDE = '/a/b/c';
const AROUND = '/a';
const overlap = (older: Touch, newer: Touch) => overlaps([older], [newer]);

test.each<[string, number, number, [same: boolean, inside: boolean, around: boolean]]>([
  ['value, value', VALUE, VALUE, [true, true, true]],
  ['value, reading', VALUE, READING, [true, true, true]],
  ['reading, value', READING, VALUE, [true, true, true]],
  ['shape, shape', SHAPE, SHAPE, [true, true, true]],
  ['shape, value', SHAPE, VALUE, [true, true, true]],
  ['value, shape', VALUE, SHAPE, [true, true, true]],
  ['shape, reading', SHAPE, READING, [true, true, true]],
  ['reading, shape', READING, SHAPE, [true, true, true]],
  ['shape, append', SHAPE, APPEND, [false, true, false]],
  ['append, shape', APPEND, SHAPE, [false, false, true]],
  ['append, append', APPEND, APPEND, [false, false, false]],
  ['append, value', APPEND, VALUE, [true, false, true]],
  ['value, append', VALUE, APPEND, [false, false, false]],
  ['append, reading', APPEND, READING, [true, false, true]],
  ['length, append', LENGTH, APPEND, [true, false, false]],
  ['append, length', APPEND, LENGTH, [true, false, false]],
  ['length, value', LENGTH, VALUE, [false, false, false]],
  ['reading, reading', READING, READING, [false, false, false]],
])('older and newer: %s', (_, older, newer, expected) => {
  expect([SAME, INSIDE, AROUND].map(path => overlap([SAME, older], [path, newer]))).toEqual(expected);
});

test('paths of which neither is the other or lies inside it never overlap', () => {
  for (const kind of [VALUE, SHAPE, APPEND, LENGTH, READING]) {
    expect(overlap(['/a/b', VALUE], ['/a/bc', kind])).toBe(false);
    expect(overlap(['/a/b', SHAPE], ['/a/c', kind])).toBe(false);
  }
});
