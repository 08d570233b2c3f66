// The core against a server that this test plays, message by message: what the simulation does not do on purpose.

import { beforeEach, describe, expect, test } from 'vitest';
import type { Patch } from '../../src/api.ts';
import { utf8 } from '../../src/codec/bytes.ts';
import { Decoder } from '../../src/codec/frame.ts';
import { decode, encode, type Message, type MessageOf, type Name } from '../../src/codec/message.ts';
import { config } from '../../src/core/config.ts';
import { Core, type Sending } from '../../src/core/core.ts';
import type { Event, SessionEvent } from '../../src/core/event.ts';

const PLAIN: Sending = { durability: 'Notify', onConflict: 'Reject', after: 'overlapping', lenient: false };
const WELCOME: MessageOf<'Welcome'> = {
  type: 'Welcome',
  version: 1,
  capabilities: 0n,
  connection: 1n,
  epoch: 1n,
  server_time_ms: 0n,
  user: 'ann',
  max_client_frame: 1n << 20n,
  max_server_frame: 1n << 20n,
  max_document: 1n << 20n,
  max_subscriptions: 10,
  heartbeat_ms: 1_000,
  device: 'phone',
};

let core: Core;
let now: number;
let events: Event[];

beforeEach(() => {
  now = 0;
  events = [];
  core = new Core({ ...config('phone', 7n), token: 't' }, () => 0.5);
  connect();
});

/** Lets the core connect. */
function connect(): void {
  core.handleTimeout(now);
  expect(core.commands.splice(0)).toContainEqual(expect.objectContaining({ type: 'connect' }));
  core.handleConnected(now);
}

/** The server says something. */
function say(...messages: Message[]): void {
  for (const message of messages) core.handleBytes(now, encode(message));
  events.push(...core.events.splice(0));
}

/** What the client has said since. */
function said(): Message[] {
  const decoder = new Decoder(8 << 20);
  const messages: Message[] = [];
  for (let frame = core.transmit(now); frame; frame = core.transmit(now)) {
    decoder.push(frame);
    messages.push(decode(decoder.next() as Uint8Array) as Message);
  }
  return messages;
}

const saidOf = <N extends Name>(name: N): MessageOf<N>[] =>
  said().filter((message): message is MessageOf<N> => message.type === name);

const told = (kind: SessionEvent['kind']): SessionEvent[] =>
  events.flatMap(event => (event.type === 'session' && event.event.kind === kind ? [event.event] : []));

/** Subscribes to `todo` at version 5. */
function live(state: unknown = { items: [] }): void {
  say(WELCOME);
  core.subscribe('todo', now);
  const [asked] = saidOf('Subscribe');
  say({
    type: 'Reset',
    id: asked?.id,
    session: 'todo',
    reason: 'Initial',
    at: { epoch: 1n, version: 5n },
    last_kept: undefined,
    state: utf8(JSON.stringify(state)),
  });
}

const delta = (version: bigint, operations: Patch, counter = 0n, incarnation = 0n): Message => ({
  type: 'Delta',
  session: 'todo',
  at: { epoch: 1n, version },
  operations: utf8(JSON.stringify(operations)),
  device: 'laptop',
  origin: { incarnation, counter },
  time_ms: 0n,
});
const append = (value: string): Patch => [{ op: 'add', path: '/items/-', value }];
const failed = (code: number, name: string, op: bigint, retryable = false): Message => ({
  type: 'Error',
  code,
  name,
  text: '',
  retryable,
  answers: undefined,
  session: 'todo',
  op,
  retry_after_ms: retryable ? 40n : undefined,
  address: '',
});
const state = (id = 'todo') => core.sessions.get(id)?.document;

/** The code with which the client ended the connection. */
function ended(): number | undefined {
  const command = core.commands.splice(0).find(({ type }) => type === 'disconnect');
  return command?.type === 'disconnect' ? command.code : undefined;
}

describe('a server that breaks the rules', () => {
  test.each<[string, bigint]>([
    ['skips a version', 7n],
    ['says a version twice', 5n],
  ])('%s: the connection ends, and the document is fetched anew', (_, version) => {
    live();
    say(delta(version, append('x')));
    expect(ended()).toBe(104);
    expect(state()).toEqual({ items: [] });
    now = 1_000;
    connect();
    expect(saidOf('Hello')[0]?.resume).toEqual([]);
  });

  test.each<[string, () => Message]>([
    ['a change that does not apply', () => delta(6n, [{ op: 'remove', path: '/nothing' }])],
    [
      'a change that is none',
      () => ({ ...(delta(6n, []) as MessageOf<'Delta'>), operations: utf8('{"op":1}') }),
    ],
    ['text that is not JSON', () => ({ ...(delta(6n, []) as MessageOf<'Delta'>), operations: utf8('[') })],
    ['what only clients say', () => ({ type: 'Unsubscribe', id: 1n, session: 'todo' })],
    ['a second Welcome', () => WELCOME],
  ])('%s ends the connection and nothing else', (_, message) => {
    live();
    say(message());
    expect(ended()).toBeGreaterThan(0);
    expect(events.at(-1)).toMatchObject({ type: 'disconnected' });
    expect(state()).toEqual({ items: [] });
  });

  test('what was never asked for is nothing', () => {
    live();
    say(
      {
        type: 'Document',
        id: 9n,
        session: 'todo',
        at: { epoch: 1n, version: 9n },
        state: utf8('1'),
        active_device: undefined,
      },
      {
        type: 'Accepted',
        counter: 9n,
        session: 'todo',
        at: { epoch: 1n, version: 9n },
        durable: true,
        operations: undefined,
        changed: true,
      },
      { type: 'Response', id: 99n, status: 200, headers: [], body: utf8('{}') },
      { type: 'SnapshotPart', session: 'todo', offset: 0n, bytes: utf8('x') },
      { ...(delta(6n, []) as MessageOf<'Delta'>), session: '__proto__' },
    );
    expect(ended()).toBeUndefined();
    expect(core.isConnected).toBe(true);
    expect(state()).toEqual({ items: [] });
  });

  test('a document in parts is checked by its size and CRC-32C', () => {
    live();
    const reset = (checksum: number) =>
      say(
        {
          type: 'Reset',
          id: undefined,
          session: 'todo',
          reason: 'Lagged',
          at: { epoch: 1n, version: 9n },
          last_kept: undefined,
          state: undefined,
        },
        { type: 'SnapshotBegin', session: 'todo', at: { epoch: 1n, version: 9n }, size: 40n },
        { type: 'SnapshotPart', session: 'todo', offset: 0n, bytes: utf8('{"items":[{"text":"milk",') },
        { type: 'SnapshotPart', session: 'todo', offset: 25n, bytes: utf8('"done":false}]}') },
        { type: 'SnapshotEnd', session: 'todo', checksum },
      );
    // The example of proto-spec/messages.md.
    reset(837_435_690);
    expect(state()).toEqual({ items: [{ text: 'milk', done: false }] });
    reset(1);
    expect(ended()).toBeGreaterThan(0);
  });

  test('a server that says nothing is asked, and given up', () => {
    live();
    now = 750;
    core.handleTimeout(now);
    expect(saidOf('Ping')).toHaveLength(1);
    now += 10_000;
    core.handleTimeout(now);
    expect(ended()).toBe(107);
  });
});

describe('ops', () => {
  test('wait until the place that they were made for is known to be true, and keep their counters', () => {
    live();
    core.update('todo', append('a'), PLAIN);
    core.update('todo', append('b'), PLAIN);
    expect(saidOf('Update').map(({ counter }) => counter)).toEqual([1n, 2n]);
    core.handleDisconnected(now, undefined, 'gone');
    now = 1_000;
    connect();
    say(WELCOME);
    expect(saidOf('Update')).toEqual([]);
    say({ type: 'Resumed', id: undefined, session: 'todo', epoch: 1n, after: 5n, version: 6n });
    // The first had been applied: its change comes, and is not shown twice.
    say(delta(6n, append('a'), 1n, 7n));
    expect(state()).toEqual({ items: ['a', 'b'] });
    expect(saidOf('Update').map(({ counter, base }) => [counter, base.version])).toEqual([
      [1n, 5n],
      [2n, 5n],
    ]);
    expect(told('accepted')).toMatchObject([{ counter: 1n }]);
  });

  test('a busy one holds up the later ones, and all go out again in order after the time', () => {
    live();
    for (const item of ['a', 'b', 'c']) core.update('todo', append(item), PLAIN);
    expect(saidOf('Update')).toHaveLength(3);
    say(failed(300, 'busy', 2n, true), failed(300, 'busy', 3n, true));
    expect(saidOf('Update')).toEqual([]);
    expect(core.timeout).toBeGreaterThanOrEqual(40);
    now = core.timeout ?? 0;
    core.handleTimeout(now);
    expect(saidOf('Update').map(({ counter }) => counter)).toEqual([2n, 3n]);
  });

  test('one that is refused takes with it what was built on it, and nothing else', () => {
    live({ items: [], title: '', note: '' });
    core.update('todo', [{ op: 'replace', path: '/title', value: 'a' }], PLAIN);
    core.update('todo', [{ op: 'replace', path: '/note', value: 'n' }], PLAIN);
    core.update('todo', [{ op: 'replace', path: '/title', value: 'ab' }], PLAIN);
    expect(saidOf('Update').map(({ after }) => after)).toEqual([undefined, undefined, 1n]);
    say({
      type: 'Conflict',
      counter: 1n,
      session: 'todo',
      at: { epoch: 1n, version: 6n },
      paths: ['/title'],
    });
    expect(told('refused')).toMatchObject([
      { counter: 1n, error: { code: 'conflict', paths: ['/title'] } },
      { counter: 3n, error: { code: 'dependency_refused', on: 1 } },
    ]);
    expect(state()).toEqual({ items: [], title: '', note: 'n' });
  });

  test('one that was applied so long ago that its answer is gone counts as durable', () => {
    live();
    core.update('todo', append('a'), PLAIN);
    said();
    say({
      type: 'Accepted',
      counter: 1n,
      session: 'todo',
      at: { epoch: 1n, version: 6n },
      durable: false,
      operations: undefined,
      changed: true,
    });
    say(failed(207, 'op_expired', 1n));
    expect(told('durable')).toMatchObject([{ counter: 1n }]);
    expect(told('refused')).toEqual([]);
  });

  test('what was lost in a crash is sent again, for the last state that both know', () => {
    live();
    core.update('todo', append('a'), PLAIN);
    said();
    say({
      type: 'Accepted',
      counter: 1n,
      session: 'todo',
      at: { epoch: 1n, version: 6n },
      durable: false,
      operations: undefined,
      changed: true,
    });
    core.update('todo', append('b'), PLAIN);
    core.handleDisconnected(now, undefined, 'gone');
    now = 1_000;
    connect();
    expect(saidOf('Hello')[0]?.resume).toMatchObject([{ seq: 6n }]);
    say(WELCOME, {
      type: 'Reset',
      id: undefined,
      session: 'todo',
      reason: 'Lost',
      at: { epoch: 2n, version: 5n },
      last_kept: 5n,
      state: utf8('{"items":[]}'),
    });
    expect(saidOf('Update').map(({ counter, base }) => [counter, base])).toEqual([
      [1n, { epoch: 1n, version: 5n }],
      [2n, { epoch: 1n, version: 5n }],
    ]);
    expect(state()).toEqual({ items: ['a', 'b'] });
  });

  test('are not sent before they are written down, and no other counter is used after a crash', () => {
    const settings = { ...config('phone', 7n), persist: true };
    core = new Core(settings, () => 0.5);
    connect();
    live();
    core.update('todo', append('a'), PLAIN);
    expect(saidOf('Update')).toEqual([]);
    const writes = core.takeWrites(true) ?? new Map();
    const disk = structuredClone(writes);
    core.handleStored(writes);
    expect(saidOf('Update').map(({ counter }) => counter)).toEqual([1n]);
    core.update('todo', append('b'), PLAIN);

    core = new Core({ ...settings, incarnation: 8n }, () => 0.5, disk);
    expect(core.config.incarnation).toBe(7n);
    expect(state()).toEqual({ items: ['a'] });
    expect(core.update('todo', append('c'), PLAIN)).toBe(2n);
  });

  test('that make a session wait until the server has said whose connection it is', () => {
    core.create('mine', { n: 1 }, 'Merge', 'Many');
    expect(saidOf('Create')).toEqual([]);
    say(WELCOME);
    expect(saidOf('Create')).toMatchObject([{ counter: 1n, session: 'mine', conflict: 'Merge' }]);
    core.update('mine', [{ op: 'replace', path: '/n', value: 2 }], PLAIN);
    expect(said()).toEqual([]);
    say({ type: 'Created', counter: 1n, session: 'mine', epoch: 1n, version: 1n });
    expect(state('mine')).toEqual({ n: 2 });
    expect(saidOf('Subscribe')).toMatchObject([{ session: 'mine', have: { epoch: 1n, version: 1n } }]);
  });

  test('of another user are refused, and nothing of them is sent', () => {
    live();
    core.update('todo', append('a'), PLAIN);
    core.handleDisconnected(now, undefined, 'gone');
    now = 1_000;
    connect();
    said();
    say({ ...WELCOME, user: 'ben' });
    expect(told('refused')).toMatchObject([{ counter: 1n, error: { code: 'unauthenticated' } }]);
    expect(saidOf('Update')).toEqual([]);
    expect(core.sessions.size).toBe(0);
  });
});

test('a session that another server has is followed there, when nothing is left here', () => {
  live();
  core.update('todo', append('a'), PLAIN);
  said();
  say({ ...(failed(304, 'moved', 1n, true) as MessageOf<'Error'>), address: 'b.example:7400' });
  expect(ended()).toBe(0);
  now = 1_000;
  core.handleTimeout(now);
  expect(core.commands.splice(0)).toEqual([{ type: 'connect', address: 'b.example:7400' }]);
  core.handleDisconnected(now, undefined, 'not there');
  now = 10_000;
  core.handleTimeout(now);
  expect(core.commands.splice(0)).toEqual([{ type: 'connect', address: '' }]);
});

test('the session stream may be faster than the control stream', () => {
  core.subscribe('todo', now);
  const [asked] = saidOf('Subscribe');
  const reset: Message = {
    type: 'Reset',
    id: asked?.id,
    session: 'todo',
    reason: 'Initial',
    at: { epoch: 1n, version: 5n },
    last_kept: undefined,
    state: utf8('1'),
  };
  core.handleBytes(now, encode(reset), 1);
  expect(state()).toBe(1);
  expect(core.transmit(now, 1)).toBeUndefined();
  say(WELCOME);
  expect(core.isConnected).toBe(true);
});

test('clients that lost a server together do not come back together', () => {
  const pauses = Array.from({ length: 32 }, (_, seed) => {
    const one = new Core(config('phone', 1n), () => (seed * 0.618) % 1);
    one.handleTimeout(0);
    one.handleDisconnected(0, undefined, '');
    return one.timeout;
  });
  expect(new Set(pauses).size).toBeGreaterThan(20);
});
