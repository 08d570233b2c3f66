import { describe, expect, test } from 'vitest';
import type { Json, Operation, Patch } from '../../src/api.ts';
import { apply, checkPatch } from '../../src/document/apply.ts';
import type { PatchError } from '../../src/document/error.ts';
import { equal, freeze, parseJson } from '../../src/document/value.ts';

const applied = (document: Json, patch: Patch, lenient = false) =>
  apply(freeze(document), patch, lenient).document;
const failure = (document: Json, patch: Patch, lenient = false) => {
  try {
    apply(freeze(document), patch, lenient);
  } catch (error) {
    return (error as PatchError).name;
  }
  return undefined;
};

describe('strict', () => {
  const cases: [string, Json, Operation[], Json][] = [
    ['adds a member', { a: 1 }, [{ op: 'add', path: '/b', value: 2 }], { a: 1, b: 2 }],
    ['adds in place of a member', { a: 1 }, [{ op: 'add', path: '/a', value: 2 }], { a: 2 }],
    ['inserts an item', [1, 3], [{ op: 'add', path: '/1', value: 2 }], [1, 2, 3]],
    ['appends by index', [1], [{ op: 'add', path: '/1', value: 2 }], [1, 2]],
    ['appends by -', [1], [{ op: 'add', path: '/-', value: 2 }], [1, 2]],
    ['replaces the whole document', [1], [{ op: 'replace', path: '', value: 'x' }], 'x'],
    ['removes an item', [1, 2, 3], [{ op: 'remove', path: '/1' }], [1, 3]],
    ['moves an item', [1, 2, 3], [{ op: 'move', from: '/0', path: '/2' }], [2, 3, 1]],
    ['moves onto itself', { a: 1 }, [{ op: 'move', from: '/a', path: '/a' }], { a: 1 }],
    ['copies', { a: { b: 1 } }, [{ op: 'copy', from: '/a', path: '/c' }], { a: { b: 1 }, c: { b: 1 } }],
    ['knows escapes', { 'a/b': { 'm~n': 1 } }, [{ op: 'remove', path: '/a~1b/m~0n' }], { 'a/b': {} }],
    ['knows an empty name', { '': 1 }, [{ op: 'replace', path: '/', value: 2 }], { '': 2 }],
    [
      'tests without order',
      { a: { b: 1, c: [2] } },
      [{ op: 'test', path: '/a', value: { c: [2], b: 1 } }],
      { a: { b: 1, c: [2] } },
    ],
  ];
  test.each(cases)('%s', (_, before, patch, after) => {
    expect(applied(before, patch)).toEqual(after);
  });

  const failures: [string, Json, Operation[], string][] = [
    ['a missing parent', {}, [{ op: 'add', path: '/a/b', value: 1 }], 'path_not_found'],
    ['an index beyond the array', [1], [{ op: 'add', path: '/2', value: 1 }], 'path_not_found'],
    ['a leading zero', [1, 2], [{ op: 'replace', path: '/01', value: 1 }], 'path_not_found'],
    ['nothing to replace', {}, [{ op: 'replace', path: '/a', value: 1 }], 'path_not_found'],
    ['nothing to remove', [], [{ op: 'remove', path: '/0' }], 'path_not_found'],
    ['something below a number', { a: 1 }, [{ op: 'add', path: '/a/b', value: 1 }], 'path_not_found'],
    ['removing the whole document', {}, [{ op: 'remove', path: '' }], 'path_not_found'],
    ['a test of another value', { a: '1' }, [{ op: 'test', path: '/a', value: 1 }], 'test_failed'],
    ['a move into itself', { a: {} }, [{ op: 'move', from: '/a', path: '/a/b' }], 'invalid_patch'],
    ['what is inherited', {}, [{ op: 'test', path: '/toString', value: 1 }], 'path_not_found'],
    ['a length of an array', [1], [{ op: 'replace', path: '/length', value: 0 }], 'path_not_found'],
  ];
  test.each(failures)('refuses %s', (_, before, patch, name) => {
    expect(failure(before, patch)).toBe(name);
  });

  test('whole or not at all: what was given stays as it was', () => {
    const before = freeze({ a: [1, 2], b: { c: 1 } });
    expect(
      failure(before, [
        { op: 'remove', path: '/a/0' },
        { op: 'remove', path: '/x' },
      ]),
    ).toBe('path_not_found');
    expect(before).toEqual({ a: [1, 2], b: { c: 1 } });
  });

  test('what a change does not touch is shared with the document before, and everything is frozen', () => {
    const before = freeze({ a: { x: 1 }, b: [{ y: 1 }, { y: 2 }] });
    const after = applied(before, [{ op: 'add', path: '/b/0/z', value: { deep: [1] } }]) as typeof before;
    expect(after.a).toBe(before.a);
    expect(after.b[1]).toBe(before.b[1]);
    expect(after.b[0]).not.toBe(before.b[0]);
    expect(() => ((after.b[0] as unknown as { z: { deep: number[] } }).z.deep[0] = 2)).toThrow(TypeError);
  });
});

describe('lenient', () => {
  test('makes the parents that are missing, and an array where the pointer ends in -', () => {
    expect(applied({}, [{ op: 'add', path: '/a/b/c', value: 1 }], true)).toEqual({ a: { b: { c: 1 } } });
    expect(applied({}, [{ op: 'add', path: '/a/b/-', value: 1 }], true)).toEqual({ a: { b: [1] } });
  });

  test('makes nothing below a scalar, in an array without that index, or through -', () => {
    expect(failure({ a: null }, [{ op: 'add', path: '/a/b', value: 1 }], true)).toBe('path_not_found');
    expect(failure({ a: [] }, [{ op: 'add', path: '/a/0/b', value: 1 }], true)).toBe('path_not_found');
    expect(failure({}, [{ op: 'add', path: '/a/-/b', value: 1 }], true)).toBe('path_not_found');
  });
});

describe('names that JavaScript has another use for', () => {
  const hostile = ['__proto__', 'constructor', 'prototype', 'hasOwnProperty', 'toString'];

  test.each(hostile)('%s is a member like any other, and no prototype changes', name => {
    const before = Object.getOwnPropertyNames(Object.prototype).length;
    const path = `/${name}`;
    const made = applied({}, [
      { op: 'add', path, value: { polluted: true } },
      { op: 'add', path: `${path}/deep`, value: 1 },
    ]);
    expect(JSON.stringify(made)).toBe(`{"${name}":{"polluted":true,"deep":1}}`);
    const lenient = applied({}, [{ op: 'add', path: `${path}/polluted/${name}`, value: 1 }], true);
    expect(JSON.stringify(lenient)).toBe(`{"${name}":{"polluted":{"${name}":1}}}`);
    expect(applied(made, [{ op: 'remove', path }])).toEqual({});
    expect(JSON.stringify(applied(made, [{ op: 'move', from: path, path: '/b' }]))).toBe(
      '{"b":{"polluted":true,"deep":1}}',
    );
    expect(failure({}, [{ op: 'add', path: `${path}/x`, value: 1 }])).toBe('path_not_found');
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    expect(Object.getOwnPropertyNames(Object.prototype)).toHaveLength(before);
  });

  test('a document that was read with __proto__ in it is written with it, and is equal only to itself', () => {
    const text = '{"__proto__":{"a":1},"b":2}';
    const document = parseJson(text);
    expect(JSON.stringify(applied(document, [{ op: 'add', path: '/c', value: 3 }]))).toBe(
      '{"__proto__":{"a":1},"b":2,"c":3}',
    );
    expect(equal(document, parseJson(text))).toBe(true);
    expect(equal(document, parseJson('{"__proto__":{"a":2},"b":2}'))).toBe(false);
    expect(equal(parseJson('{"__proto__":{}}'), parseJson('{"a":{}}'))).toBe(false);
  });
});

test.each<[string, unknown]>([
  ['no array', {}],
  ['an operation that is none', [1]],
  ['an unknown operation', [{ op: 'merge', path: '' }]],
  ['an add without a value', [{ op: 'add', path: '/a' }]],
  ['a value that is inherited', [Object.create({ op: 'add', path: '/a', value: 1 })]],
  ['a move without from', [{ op: 'move', path: '/a' }]],
  ['a path that is no text', [{ op: 'remove', path: 1 }]],
  ['a path that is no pointer', [{ op: 'remove', path: 'a' }]],
  ['an escape that is none', [{ op: 'remove', path: '/~2' }]],
])('%s is no patch', (_, value) => {
  expect(() => checkPatch(value)).toThrow(expect.objectContaining({ name: 'invalid_patch' }));
});
