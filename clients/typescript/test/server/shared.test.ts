// Several tabs over one connection, against the real server. A MessageChannel is to Node what a SharedWorker's port is.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, connect, RefusedError, type Session } from '../../src/node.ts';
import { completeHandoff, register } from '../../src/service.ts';
import { connectShared, share } from '../../src/shared/index.ts';
import { Server } from './server.ts';

let server: Server;
let tokens: Awaited<ReturnType<typeof register>>;
const clients: Client[] = [];
/** Clients that the worker made, and how many of them are left. */
let made = 0;
let left = 0;
let arrive: (event: { ports: readonly MessagePort[] }) => void = () => {};

beforeAll(async () => {
  server = await Server.start();
  tokens = await register({ email: 'ann@example.com', password: 'correct horse' }, { url: server.url });
  share({ addEventListener: (_, listener) => void (arrive = listener) }, async options => {
    made++;
    left++;
    const client = await connect(options);
    client.on('status', ({ phase }) => phase === 'closed' && left--);
    return client;
  });
});
afterAll(async () => {
  await Promise.all(clients.map(client => client.close()));
  await server.remove();
});

function tab(): Client {
  const { port1, port2 } = new MessageChannel();
  arrive({ ports: [port1] });
  const client = connectShared(port2, { url: server.url, tokens, device: 'desk' });
  clients.push(client);
  return client;
}

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
    session.onPresence(look, over);
    look();
  });
}

interface Log {
  log: string[];
}

test('tabs share one connection, see each other, and show what they change at once', async () => {
  const [one, two] = [tab(), tab()];
  const here = one.create<Log>({ log: [] });
  const update = here.update(draft => void draft.log.push('a'));
  expect(here.state?.log).toEqual(['a']);
  expect((await update.accepted).version).toBe(2);
  expect((await update.durable).version).toBe(2);
  expect(update.counter).toBe(2);
  const there = two.session<Log>(here.id);
  expect(await there.ready()).toEqual({ log: ['a'] });
  for (let i = 0; i < 50; i++) {
    here.update(draft => void draft.log.push(`one ${i}`));
    there.update(draft => void draft.log.push(`two ${i}`));
    expect(here.state?.log.at(-1)).toBe(`one ${i}`);
    expect(there.state?.log.at(-1)).toBe(`two ${i}`);
  }
  await until(here, () => here.version === 102 && here.pending === 0);
  await until(there, () => there.version === 102 && there.pending === 0);
  expect(here.state).toEqual(there.state);
  expect(new Set(here.state?.log).size).toBe(101);
  expect(made).toBe(1);
  // One connection is one device that is there once.
  await until(here, () => here.presence.devices.length === 1);
  expect(one.status).toMatchObject({ phase: 'online', device: 'desk' });
});

test('a refused update is rolled back in its tab, with what was built on it, and kept where another device is active', async () => {
  const one = tab();
  const session = one.create({ title: 'a' }, { devices: 'exclusive' });
  await session.update(draft => void (draft.title = 'b')).durable;
  const offer = await session.handoff.start();
  const taken = await completeHandoff({ token: offer.token, deviceId: 'phone' }, { url: server.url });
  await until(session, () => session.presence.activeDevice === 'phone');
  const conflicts: string[] = [];
  one.on('conflict', ({ error }) => conflicts.push(error.code));
  const first = session.update(draft => void (draft.title = 'ours'));
  const second = session.update(draft => void (draft.title += ', too'), { after: first });
  expect(session.state?.title).toBe('ours, too');
  await expect(first.accepted).rejects.toBeInstanceOf(RefusedError);
  await expect(first.accepted).rejects.toMatchObject({ code: 'not_active' });
  await expect(second.accepted).rejects.toMatchObject({ code: /dependency_refused|not_active/ });
  await until(session, () => session.state?.title === 'b' && session.unsent.length === 2);
  expect(conflicts[0]).toBe('not_active');

  const phone = await connect({ url: server.url, tokens: taken, device: 'phone' });
  clients.push(phone);
  const back = await phone.session(session.id).handoff.start();
  await session.handoff.complete(back.token, 'phone');
  const [kept] = session.unsent;
  await session.resend(kept?.counter ?? 0).durable;
  await until(session, () => session.state?.title === 'ours' && session.unsent.length === 1);
  session.discard(session.unsent[0]?.counter ?? 0);
  await until(session, () => session.unsent.length === 0);
});

test('requests, abandonment and errors go through', async () => {
  const one = tab();
  expect((await one.request('GET', '/sessions')).status).toBe(200);
  expect(await one.ping()).toBeGreaterThan(0);
  await expect(one.get('nobody-has-this')).rejects.toMatchObject({ code: 'not_found', number: 203 });
  await expect(
    one.request('GET', '/sessions', { signal: AbortSignal.abort(new Error('enough')) }),
  ).rejects.toThrow('enough');
  const lost = one.session('nobody-has-this');
  await expect(lost.ready()).rejects.toMatchObject({ code: 'not_found' });
  expect(lost.error).toMatchObject({ code: 'not_found' });
});

test('a session is left when the last tab leaves it, and the connection ends with the last tab', async () => {
  await Promise.all(clients.splice(0).map(client => client.close()));
  await expect.poll(() => left).toBe(0);
  const before = made;
  const again = tab();
  await again.online();
  expect(made).toBe(before + 1);
  expect(() => again.create({}, { id: 'x' }) && again.create({}, { id: 'x' })).toThrow('already_exists');
});
