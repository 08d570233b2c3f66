import { describe, expect, test } from 'vitest';
import {
  add,
  asText,
  begin,
  check,
  type List,
  move,
  ROWS,
  read,
  remove,
  rename,
  shortJson,
  write,
} from '../src/home/list.ts';

const list = (): List => ({
  title: 'Trip',
  notes: {
    b: { text: 'second', done: false, order: 2 },
    a: { text: 'first', done: true, order: 1 },
    c: { text: 'also second', done: false, order: 2 },
  },
});

describe('reading a document', () => {
  test('notes stand in their order, and by id where that is the same', () => {
    expect(read(list()).rows.map(row => row.id)).toEqual(['a', 'b', 'c']);
  });

  test('a row is the same object as long as its note is', () => {
    const document = list();
    const [before, after] = [read(document), read({ ...document, title: 'Other' })];
    expect(after.rows[0]).toBe(before.rows[0]);
    const changed = read({
      ...document,
      notes: { ...document.notes, a: { text: 'x', done: true, order: 1 } },
    });
    expect(changed.rows[0]).not.toBe(before.rows[0]);
    expect(changed.rows[1]).toBe(before.rows[1]);
  });

  test('the same note under another id is another row', () => {
    const note = { text: 'x', done: false, order: 1 };
    expect(read({ notes: { one: note } }).rows[0]?.id).toBe('one');
    expect(read({ notes: { two: note } }).rows[0]?.id).toBe('two');
  });

  const anything: unknown[] = [
    null,
    undefined,
    true,
    0,
    'text',
    [],
    [1, { notes: 2 }],
    { notes: [] },
    { notes: 'none' },
    { notes: null },
    { notes: { a: null, b: 7, c: [], d: 'text', e: { text: { deep: [] }, done: 'yes', order: 'x' } } },
    { title: { a: 1 } },
    JSON.parse(
      '{"__proto__": {"notes": 1}, "constructor": 2, "notes": {"__proto__": {"text": "x"}, "toString": {"text": 1}}}',
    ),
  ];
  test('any document can be shown', () => {
    for (const document of anything) {
      const page = read(document);
      expect(typeof page.title).toBe('string');
      for (const row of page.rows) {
        expect([typeof row.text, typeof row.done, typeof row.order]).toEqual(['string', 'boolean', 'number']);
      }
      for (const [, value] of page.rest) expect(typeof shortJson(value)).toBe('string');
    }
  });

  test('what is no list is shown beside it, and whatever has no place for notes cannot be written', () => {
    expect(read({ title: 'T', notes: {}, more: [1] })).toMatchObject({
      rest: [['more', [1]]],
      writable: true,
    });
    expect(read([1, 2])).toMatchObject({ rest: [['', [1, 2]]], writable: false });
    expect(read({ notes: [1] })).toMatchObject({ rest: [['notes', [1]]], writable: false });
    expect(read({})).toMatchObject({ rest: [], writable: true });
  });

  test('no more notes are drawn than a frame has time for', () => {
    const notes = Object.fromEntries(
      Array.from({ length: ROWS + 7 }, (_, order) => [`n${order}`, { text: '', order }]),
    );
    expect(read({ notes })).toMatchObject({ left: 7, rows: { length: ROWS } });
  });

  test('text stays what it is, and everything else is JSON', () => {
    expect(['<b>', { a: 1 }, null, undefined].map(asText)).toEqual(['<b>', '{"a":1}', 'null', '']);
  });
});

describe('changing a list', () => {
  const after = (recipe: ((list: List) => void) | undefined, document = list()) => {
    recipe?.(document);
    return read(document).rows.map(({ id, text, done }) => `${id}${done ? '+' : '-'}${text}`);
  };

  test('a note is added at the end, also where there were none', () => {
    expect(after(add('x', 'new', read(list()))).at(-1)).toBe('x-new');
    expect(after(add('x', 'new', read({})), {} as List)).toEqual(['x-new']);
    expect(after(add('x', 'new', read(begin())), begin())).toEqual(['x-new']);
  });

  test('a note is written, checked off, removed; one that is gone meanwhile stays gone', () => {
    expect(after(write('a', 'other'))).toContain('a+other');
    expect(after(check('b', true))).toContain('b+second');
    expect(after(remove('b'))).toEqual(['a+first', 'c-also second']);
    expect(after(write('gone', 'x'))).toEqual(after(undefined));
    expect(after(check('gone', true))).toEqual(after(undefined));
  });

  test('a note moves past its neighbour, and no further than the end', () => {
    const order = (id: string, down: boolean) => after(move(id, down, read(list()))).map(row => row[0]);
    expect(order('a', true), 'past one of two that have the same place').toEqual(['b', 'a', 'c']);
    expect(order('c', false)).toEqual(['a', 'c', 'b']);
    expect(move('a', false, read(list()))).toBeUndefined();
    expect(move('c', true, read(list()))).toBeUndefined();
  });

  test('a list is renamed', () => {
    const document = list();
    rename('Other')(document);
    expect(read(document).title).toBe('Other');
  });
});
