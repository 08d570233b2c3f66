// What happens when the server is away, dies, and comes back; and when the page does.

import 'fake-indexeddb/auto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  type Client,
  type ConnectOptions,
  connect,
  type Session,
  type Status,
  type Store,
} from '../../src/node.ts';
import { indexedDbStore } from '../../src/store/indexeddb.ts';
import { memoryStore } from '../../src/store/memory.ts';
import { Server } from './server.ts';

let server: Server;
let clients: Client[] = [];

beforeEach(async () => {
  server = await Server.start('--open');
});
afterEach(async () => {
  await Promise.all(clients.map(client => client.close()));
  clients = [];
  await server.remove();
});

async function client(device: string, options: Partial<ConnectOptions> = {}): Promise<Client> {
  const client = await connect({ url: server.url, token: 'test-token-1', device, ...options });
  clients.push(client);
  return client;
}

function phase(client: Client, wanted: Status['phase']): Promise<void> {
  return new Promise(resolve => {
    const stop = client.on('status', look);
    function look({ phase }: Status) {
      if (phase !== wanted) return;
      stop();
      resolve();
    }
    look(client.status);
  });
}

interface Log {
  log: string[];
}

const append = (session: Session<Log>, line: string) => session.update(draft => void draft.log.push(line));

/** Waits until the session's state is so. */
function until<T>(session: Session<T>, isSo: () => boolean): Promise<void> {
  return new Promise(resolve => {
    const over = new AbortController();
    const look = () => {
      if (over.signal.aborted || !isSo()) return;
      over.abort();
      resolve();
    };
    session.subscribe(look, over);
    session.onChange(look, over);
    look();
  });
}

test('a server that is killed and started again: everybody comes back, nothing is lost, nothing is twice', async () => {
  const [phone, laptop] = [await client('phone'), await client('laptop')];
  const here = phone.create<Log>({ log: [] });
  await append(here, 'before').durable;
  const there = laptop.session<Log>(here.id);
  await there.ready();
  const versions: number[] = [];
  there.onChange(change => void (change.kind === 'delta' && versions.push(change.at.version)));

  await server.kill();
  await Promise.all([phase(phone, 'offline'), phase(laptop, 'offline')]);
  const updates = ['a', 'b', 'c'].map(line => append(here, line));
  expect(here.state?.log).toEqual(['before', 'a', 'b', 'c']);
  expect(here.pending).toBe(3);

  await server.start();
  await Promise.all(updates.map(({ durable }) => durable));
  await until(there, () => there.state?.log.length === 4);
  expect(there.state).toEqual(here.state);
  expect(there.state?.log).toEqual(['before', 'a', 'b', 'c']);
  // It was resumed: no version was missed, none came twice.
  expect(versions).toEqual([3, 4, 5]);
});

test('a server that is stopped cleanly tells everybody to come back, and resets nobody', async () => {
  const phone = await client('phone');
  const session = phone.create<Log>({ log: [] });
  await append(session, 'a').accepted;
  const resets: unknown[] = [];
  phone.on('reset', reset => resets.push(reset));
  const draining = new Promise(resolve => phone.on('draining', resolve));
  await Promise.all([server.stop(), draining]);
  await server.start();
  await append(session, 'b').durable;
  expect(session.state?.log).toEqual(['a', 'b']);
  expect(resets).toEqual([]);
});

/** A page that ends without a word: its client is never closed, and what it has not written is gone. */
function crash(client: Client): void {
  clients = clients.filter(other => other !== client);
  // Whatever it would still say reaches nobody.
  (client as unknown as { core: { close(): void } }).core.close();
}

test.each<[string, () => Store]>([
  ['in memory', memoryStore],
  ['in IndexedDB', () => indexedDbStore(`test ${Math.random()}`)],
])('updates that were made offline outlive the page, %s, and are sent once', async (_, makeStore) => {
  const store = makeStore();
  const first = await client('phone', { store });
  const session = first.create<Log>({ log: [] }, { id: 'offline' });
  await append(session, 'online').durable;
  await server.kill();
  await phase(first, 'offline');
  append(session, 'offline 1');
  append(session, 'offline 2');
  await first.close();

  // The page is loaded again, and there is still no server.
  const second = await client('phone', { store });
  const again = second.session<Log>('offline');
  expect(again.state?.log).toEqual(['online', 'offline 1', 'offline 2']);
  expect(again.pending).toBe(2);
  append(again, 'offline 3');
  await second.close();

  await server.start();
  const third = await client('phone', { store });
  const online = third.session<Log>('offline');
  await append(online, 'back').durable;
  expect(online.state?.log).toEqual(['online', 'offline 1', 'offline 2', 'offline 3', 'back']);
  expect(online.pending).toBe(0);
  await third.close();

  const other = await client('laptop');
  expect((await other.get<Log>('offline')).state.log).toEqual(online.state?.log);
  const fourth = await client('phone', { store });
  await fourth.online();
  await append(fourth.session<Log>('offline'), 'at last').durable;
  expect((await other.get<Log>('offline')).state.log).toEqual([...(online.state?.log ?? []), 'at last']);
});

test('no counter is used twice when a page dies without a word', async () => {
  const store = memoryStore();
  const first = await client('phone', { store });
  const session = first.create<Log>({ log: [] }, { id: 'crash' });
  await append(session, 'a').accepted;
  const { counter } = append(session, 'b');
  crash(first);
  const second = await client('phone', { store });
  const again = second.session<Log>('crash');
  const next = append(again, 'c');
  await next.durable;
  expect(again.state?.log.at(-1)).toBe('c');
  expect(new Set(again.state?.log).size).toBe(again.state?.log.length);
  expect(next.counter).toBeGreaterThanOrEqual(counter);
});

test('two tabs have a store each, and what a closed one left is sent by the next', async () => {
  const taken = new Set<string>();
  const locks = {
    request(name: string, _: unknown, callback: (lock: object | null) => unknown) {
      if (taken.has(name)) return Promise.resolve(callback(null));
      taken.add(name);
      return Promise.resolve(callback({})).finally(() => taken.delete(name));
    },
  };
  Object.defineProperty(globalThis, 'navigator', { value: { locks }, configurable: true });
  const name = `tabs ${Math.random()}`;
  const tabs = [
    await client('phone', { store: indexedDbStore(name) }),
    await client('phone', { store: indexedDbStore(name) }),
  ];
  const sessions = tabs.map(tab => tab.session<Log>('tabs'));
  await Promise.all(sessions.map(session => session.ready()));
  await sessions[0]?.patch([{ op: 'add', path: '/log', value: [] }]).durable;
  await until(sessions[1] as Session<Log>, () => sessions[1]?.version === 2);
  await server.kill();
  await Promise.all(tabs.map(tab => phase(tab, 'offline')));
  for (const [i, session] of sessions.entries()) append(session, `of tab ${i}`);
  await Promise.all(tabs.map(tab => tab.close()));
  await server.start();
  const next = [
    await client('phone', { store: indexedDbStore(name) }),
    await client('phone', { store: indexedDbStore(name) }),
  ];
  const again = next.map(tab => tab.session<Log>('tabs'));
  await Promise.all(again.map(session => until(session, () => session.state?.log?.length === 2)));
  expect([...(again[0]?.state?.log ?? [])].sort()).toEqual(['of tab 0', 'of tab 1']);
});

test('a request that is made offline waits for the next connection', async () => {
  const phone = await client('phone');
  await phone.online();
  await server.kill();
  await phase(phone, 'offline');
  const waiting = phone.request('GET', '/sessions');
  await server.start();
  expect((await waiting).status).toBe(200);
});
