import type { Patch } from '@syncbridge/client';
import { afterEach, expect, test, vi } from 'vitest';
import { Changes } from '../src/home/changes.ts';

afterEach(() => vi.useRealTimers());

const position = { epoch: 1, version: 2 };
const delta = (operations: Patch, device = 'phone', time = 1_000) =>
  ({ kind: 'delta', at: position, operations, device, own: false, time }) as const;

test('a change marks its note with who made it and how long it took', () => {
  const changes = new Changes();
  changes.take(delta([{ op: 'replace', path: '/notes/a~1b/text', value: 'x' }]), 1_012);
  expect(changes.highlight('a/b')).toMatchObject({ device: 'phone', own: false, took: 12 });
  changes.taken([{ op: 'add', path: '/notes/c', value: {} }], 'here', 3);
  expect(changes.highlight('c')).toMatchObject({ device: 'here', own: true, took: 3 });
});

test('what somebody types is one highlight, and what comes later another', () => {
  vi.useFakeTimers();
  const changes = new Changes();
  const type = (device: string) => {
    changes.take(delta([{ op: 'replace', path: '/notes/a/text', value: 'x' }], device), 1_000);
    return changes.highlight('a')?.id;
  };
  const first = type('phone');
  vi.advanceTimersByTime(300);
  expect(type('phone')).toBe(first);
  expect(type('laptop')).not.toBe(first);
  const second = type('laptop');
  vi.advanceTimersByTime(600);
  expect(type('laptop')).not.toBe(second);
});

test('a clock that is behind makes no negative times, and an unknown time none', () => {
  const changes = new Changes();
  changes.take(delta([{ op: 'remove', path: '/notes/a' }]), 900);
  expect(changes.log[0]).toMatchObject({ what: 'removed', took: 0 });
  changes.take(delta([{ op: 'remove', path: '/notes/b' }], 'phone', 0), 900);
  expect(changes.log[0]).toMatchObject({ took: 0 });
});

test('the log says what was done, in words for a list', () => {
  const changes = new Changes();
  const operations: Patch = [
    { op: 'replace', path: '/title', value: 'x' },
    { op: 'add', path: '/notes/a', value: {} },
    { op: 'replace', path: '/notes/a/done', value: true },
    { op: 'replace', path: '/notes/a/done', value: false },
    { op: 'replace', path: '/notes/a/order', value: 1 },
    { op: 'replace', path: '', value: {} },
    { op: 'test', path: '/title', value: 'x' },
  ];
  changes.take(delta(operations), 1_000);
  expect(changes.log.map(({ what }) => what)).toEqual([
    'changed',
    'moved',
    'reopened',
    'checked',
    'added',
    'renamed',
  ]);
});

test('letters that follow each other are one line', () => {
  const changes = new Changes();
  for (let n = 0; n < 5; n += 1)
    changes.take(delta([{ op: 'replace', path: '/notes/a/text', value: 'x' }]), 1_000);
  changes.take(delta([{ op: 'replace', path: '/notes/a/text', value: 'x' }], 'laptop'), 1_000);
  expect(changes.log.map(({ device, times }) => [device, times])).toEqual([
    ['laptop', 1],
    ['phone', 5],
  ]);
});

test('however much comes, little is kept', () => {
  const changes = new Changes();
  for (let n = 0; n < 5_000; n += 1) {
    changes.take(delta([{ op: 'replace', path: `/notes/n${n}/text`, value: 'x' }]), 1_000);
  }
  expect(changes.log.length).toBeLessThanOrEqual(40);
  expect(changes.highlight('n0')).toBeUndefined();
  expect(changes.highlight('n4999')).toBeDefined();
  const many: Patch = Array.from({ length: 900 }, (_, n) => ({ op: 'remove', path: `/notes/m${n}` }));
  changes.take(delta(many), 1_000);
  expect(changes.highlight('m899')).toBeUndefined();
});
