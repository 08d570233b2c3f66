// What an application does with the package, against the real server.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Change,
  type Client,
  type ConnectOptions,
  connect,
  type Session,
  type Tokens,
} from '../../src/node.ts';
import { completeHandoff, login, logout, refresh, register } from '../../src/service.ts';
import { memoryStore } from '../../src/store/memory.ts';
import { Server } from './server.ts';

let server: Server;
let people = 0;
const clients: Client[] = [];

beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  await Promise.all(clients.map(client => client.close()));
  await server.remove();
});

/** Somebody whom the server does not know yet. */
function person(): Promise<Tokens> {
  people++;
  return register({ email: `person${people}@example.com`, password: 'correct horse' }, { url: server.url });
}

async function client(
  tokens: Tokens,
  device: string,
  options: Partial<ConnectOptions> = {},
): Promise<Client> {
  const client = await connect({ url: server.url, tokens, device, ...options });
  clients.push(client);
  return client;
}

/** Waits until it is so. */
function until(session: Session<never>, isSo: () => boolean): Promise<void> {
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

interface Todo {
  title?: string;
  items: { text: string; done: boolean }[];
}

const milk = { text: 'milk', done: false };

test('an edit is there at once, accepted, durable, and on the other device', async () => {
  const tokens = await person();
  const phone = await client(tokens, 'phone');
  const laptop = await client(tokens, 'laptop');
  const here = phone.create<Todo>({ items: [] });
  const update = here.update(draft => {
    draft.items.push(milk);
  });
  expect(here.state).toEqual({ items: [milk] });
  expect(update.phase).toBe('pending');
  expect((await update.accepted).version).toBe(2);
  expect((await update.durable).version).toBe(2);
  expect(update.phase).toBe('durable');

  const there = laptop.session<Todo>(here.id);
  expect(await there.ready()).toEqual({ items: [milk] });
  expect(there.version).toBe(2);
  expect(there.live).toBe(true);
  await there.update(draft => {
    if (draft.items[0]) draft.items[0].done = true;
  }).accepted;
  await until(here as never, () => here.version === 3);
  expect(here.state).toEqual(there.state);
  expect(there.pending).toBe(0);
});

test('the state keeps its identity, and that of its equal parts, until something changes', async () => {
  const phone = await client(await person(), 'phone');
  const session = phone.create({ a: { deep: [1] }, b: 1 });
  const before = session.state;
  expect(session.state).toBe(before);
  await session.update(draft => {
    draft.b = 2;
  }).durable;
  expect(session.state).not.toBe(before);
  expect(session.state?.a).toBe(before?.a);
  expect(Object.isFrozen(session.state?.a)).toBe(true);
  const same = session.state;
  await session.update(() => {}).durable;
  expect(session.state).toBe(same);
});

test('of two who change the same at once one is refused, and rolled back with all that was built on it', async () => {
  const tokens = await person();
  const [phone, laptop] = [await client(tokens, 'phone'), await client(tokens, 'laptop')];
  const here = phone.create<Todo>({ title: 'a', items: [] });
  await here.update(draft => void draft.items.push(milk)).accepted;
  const there = laptop.session<Todo>(here.id);
  await there.ready();
  const conflicts: unknown[] = [];
  phone.on('conflict', ({ update, operations, error }) => conflicts.push([update, operations, error.code]));
  laptop.on('conflict', ({ update, operations, error }) => conflicts.push([update, operations, error.code]));

  const updates = [here, there].map((session, i) => {
    const first = session.update(draft => void (draft.title = `${i}`));
    const second = session.update(draft => void (draft.title += ' and more'));
    const other = session.update(draft => void draft.items.push({ text: `of ${i}`, done: false }));
    return { first, second, other };
  });
  const results = await Promise.all(
    updates.map(async ({ first, second, other }) => {
      await other.accepted;
      return (await Promise.allSettled([first.accepted, second.accepted])).map(result =>
        result.status === 'fulfilled' ? 'accepted' : result.reason.code,
      );
    }),
  );
  expect(results.sort()).toEqual([
    ['accepted', 'accepted'],
    ['conflict', 'dependency_refused'],
  ]);
  expect(conflicts.map(conflict => (conflict as unknown[])[2])).toEqual(['conflict', 'dependency_refused']);
  await until(here as never, () => here.version === there.version && here.pending + there.pending === 0);
  expect(here.state).toEqual(there.state);
  expect(here.state?.title).toMatch(/^[01] and more$/);
  // What the refused ones did not touch stays.
  expect(here.state?.items).toHaveLength(3);
});

test('a stream has every change in order, and ends with its signal', async () => {
  const tokens = await person();
  const [phone, laptop] = [await client(tokens, 'phone'), await client(tokens, 'laptop')];
  const here = phone.create({ log: [] as number[] });
  await here.update(draft => void draft.log.push(0)).accepted;
  const there = laptop.session<{ log: number[] }>(here.id);
  await there.ready();
  const abort = new AbortController();
  const changes: Change[] = [];
  const reading = (async () => {
    for await (const change of there.stream({ signal: abort.signal })) {
      changes.push(change);
      if (changes.length === 100) abort.abort();
    }
  })();
  for (let i = 1; i <= 100; i++) here.update(draft => void draft.log.push(i));
  await reading;
  const deltas = changes.filter(change => change.kind === 'delta');
  expect(deltas.map(({ at }) => at.version)).toEqual(Array.from({ length: 100 }, (_, i) => i + 3));
  expect(deltas.every(({ device, own, time }) => device === 'phone' && !own && time > 0)).toBe(true);
  expect(there.state?.log).toHaveLength(101);
});

test('a reader that falls behind is told how many changes it missed', async () => {
  const phone = await client(await person(), 'phone');
  const session = phone.create({ n: 0 });
  const lagged: number[] = [];
  phone.on('lagged', ({ missed }) => lagged.push(missed));
  const stream = session.stream({ limit: 10 });
  for (let i = 1; i <= 25; i++) session.update(draft => void (draft.n = i));
  await Promise.all([session.update(draft => void (draft.n = 0)).durable]);
  const first = await stream.next();
  expect(first.value).toMatchObject({ kind: 'lagged' });
  const { missed } = first.value as { missed: number };
  let rest = 0;
  await stream.return?.();
  for await (const _ of stream) rest++;
  expect(rest).toBe(0);
  expect(missed).toBeGreaterThanOrEqual(10);
  expect(lagged.at(-1)).toBe(missed);
});

test('states are conflated: a slow reader gets the newest', async () => {
  const phone = await client(await person(), 'phone');
  const session = phone.create({ n: 0 });
  const states = session.states();
  expect((await states.next()).value).toEqual({ n: 0 });
  for (let i = 1; i <= 100; i++) session.update(draft => void (draft.n = i));
  await session.update(draft => void (draft.n = 101)).durable;
  expect((await states.next()).value).toEqual({ n: 101 });
});

test('presence tells who is there and which device is the active one', async () => {
  const tokens = await person();
  const [phone, laptop] = [await client(tokens, 'phone'), await client(tokens, 'laptop')];
  const here = phone.create({});
  await here.update(draft => void ((draft as { a?: number }).a = 1)).accepted;
  const there = laptop.session(here.id);
  await until(here as never, () => here.presence.devices.length === 2);
  expect(here.presence.devices.map(({ device }) => device).sort()).toEqual(['laptop', 'phone']);
  expect(here.presence.activeDevice).toBe('phone');
  await until(there as never, () => there.presence.devices.length === 2);
});

test('a handoff signs the other device in and moves the session', async () => {
  const phone = await client(await person(), 'phone');
  const session = phone.create({ n: 1 }, { devices: 'exclusive' });
  await session.update(draft => void (draft.n = 2)).accepted;
  const offer = await session.handoff.start({ ttlSeconds: 60 });
  expect(offer.qrSvg).toContain('<svg');
  const taken = await completeHandoff<{ n: number }>(
    { code: offer.code.toLowerCase(), deviceId: 'laptop' },
    { url: server.url },
  );
  expect(taken).toMatchObject({ sessionId: session.id, state: { n: 2 } });
  const laptop = await client(taken, 'laptop');
  const there = laptop.session<{ n: number }>(taken.sessionId);
  await there.ready();
  await there.update(draft => void (draft.n = 3)).accepted;
  await until(session as never, () => session.presence.activeDevice === 'laptop' && session.version === 3);

  // The former device is fenced: what it does is rolled back, and kept.
  const fenced = session.update(draft => void (draft.n = 4));
  await expect(fenced.accepted).rejects.toMatchObject({ code: 'not_active' });
  expect(session.state).toEqual({ n: 3 });
  expect(session.unsent).toMatchObject([{ counter: fenced.counter, operations: fenced.operations }]);

  // Back again, by a device that is signed in.
  const back = await there.handoff.start();
  await session.handoff.complete(back.token, 'laptop');
  const again = session.resend(fenced.counter);
  await again.accepted;
  expect(session.state).toEqual({ n: 4 });
  expect(session.unsent).toEqual([]);
  await expect(
    completeHandoff({ code: offer.code, deviceId: 'x' }, { url: server.url }),
  ).rejects.toMatchObject({
    code: 'gone',
  });
});

test('under `ask` the active device says whether the session may go', async () => {
  const phone = await client(await person(), 'phone');
  const session = phone.create({ n: 1 }, { devices: 'ask' });
  await session.update(draft => void (draft.n = 2)).accepted;
  const offer = await session.handoff.start();
  const asked = new Promise<string>(resolve => {
    session.onChange(change => change.kind === 'handoff-requested' && resolve(change.handoff));
  });
  const taking = completeHandoff({ token: offer.token, deviceId: 'laptop' }, { url: server.url });
  session.handoff.answer(await asked, true);
  expect((await taking).deviceId).toBe('laptop');
});

describe('requests', () => {
  test('go over the connection, by the routes of REST', async () => {
    const phone = await client(await person(), 'phone');
    const session = phone.create({ n: 1 });
    await session.update(draft => void (draft.n = 2)).accepted;
    const list = await phone.request<{ items: { sessionId: string }[] }>('GET', '/sessions?limit=5');
    expect(list.status).toBe(200);
    expect(list.body.items.map(({ sessionId }) => sessionId)).toEqual([session.id]);
    const document = await phone.get(session.id);
    expect(document).toMatchObject({ state: { n: 2 }, at: { version: 2 }, activeDevice: 'phone' });
    await expect(phone.request('GET', '/sessions/nobody-has-this')).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(phone.get('nobody-has-this')).rejects.toMatchObject({ code: 'not_found' });
  });

  test('are abandoned with their signal', async () => {
    const phone = await client(await person(), 'phone');
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(phone.request('GET', '/sessions', { signal })).rejects.toThrow('enough');
    const abort = new AbortController();
    const asking = phone.request('GET', '/sessions', { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(asking).rejects.toThrow('enough');
    await expect(phone.request('GET', '/sessions')).resolves.toMatchObject({ status: 200 });
  });
});

describe('sessions end', () => {
  test('deleted: everybody is told', async () => {
    const tokens = await person();
    const [phone, laptop] = [await client(tokens, 'phone'), await client(tokens, 'laptop')];
    const here = phone.create({ n: 1 });
    await here.update(draft => void (draft.n = 2)).accepted;
    const there = laptop.session<{ n: number }>(here.id);
    await there.ready();
    const kinds: string[] = [];
    const reading = (async () => {
      for await (const { kind } of there.stream()) kinds.push(kind);
    })();
    await phone.request('DELETE', `/sessions/${here.id}`);
    await reading;
    expect(kinds).toContain('deleted');
    expect(there.error).toMatchObject({ code: 'not_found' });
    expect(there.state).toEqual({ n: 2 });
    expect(() => there.update(draft => void (draft.n = 3))).toThrow(
      expect.objectContaining({ code: 'not_ready' }),
    );
  });

  test('one that is not there is refused', async () => {
    const phone = await client(await person(), 'phone');
    await expect(phone.session('nobody-has-this').ready()).rejects.toMatchObject({ code: 'not_found' });
  });

  test('left, and entered again', async () => {
    const phone = await client(await person(), 'phone');
    const session = phone.create({ n: 1 });
    await session.update(draft => void (draft.n = 2)).durable;
    session.leave();
    expect(() => session.update(draft => void (draft.n = 3))).toThrow();
    const again = phone.session<{ n: number }>(session.id);
    expect(again).not.toBe(session);
    await again.ready();
    // Counters go on: one is never used again.
    expect(again.update(draft => void (draft.n = 3)).counter).toBe(3);
  });
});

describe('signing in', () => {
  test('a login, its renewal and its end', async () => {
    const { url } = server;
    const email = 'login@example.com';
    await register({ email, password: 'correct horse', name: 'Ann' }, { url });
    await expect(register({ email, password: 'correct horse' }, { url })).rejects.toMatchObject({
      code: 'already_exists',
    });
    await expect(login({ email, password: 'wrong' }, { url })).rejects.toMatchObject({
      code: 'invalid_credentials',
    });
    const tokens = await login({ email, password: 'correct horse', deviceId: 'phone' }, { url });
    expect(tokens.user).toMatchObject({ email, name: 'Ann' });
    expect((await refresh(tokens.refreshToken, { url })).accessToken).toBeTruthy();
    const phone = await client(tokens, 'another name');
    await phone.online();
    // The device that the token is for beats the one that is named.
    expect(phone.status).toMatchObject({ phase: 'online', device: 'phone', transport: 'websocket' });
    const stopped = new Promise(resolve =>
      phone.on('status', ({ phase }) => phase === 'stopped' && resolve(phase)),
    );
    await logout(tokens.refreshToken, { url });
    await stopped;
    expect(phone.status.error).toMatchObject({ code: 'invalid_credentials' });
  });

  test('an access token that is no good is renewed, once, and the application is told', async () => {
    const tokens = await person();
    const told: Tokens[] = [];
    const phone = await client({ ...tokens, accessToken: 'eyJ.no.good' }, 'phone');
    phone.on('tokens', tokens => told.push(tokens));
    await phone.online();
    expect(told).toHaveLength(1);
    expect(told[0]?.refreshToken).toBe(tokens.refreshToken);
  });

  test('tokens can come from the application', async () => {
    const tokens = await person();
    let asked = 0;
    const phone = await connect({
      url: server.url,
      device: 'phone',
      fetchToken: async () => (++asked === 1 ? 'eyJ.no.good' : tokens.accessToken),
    });
    clients.push(phone);
    await expect(phone.online()).rejects.toMatchObject({ code: 'unauthenticated' });
    phone.authenticate(tokens);
    await phone.online();
    expect(phone.status.phase).toBe('online');
  });

  test('without any token nothing is let in, and nothing is tried again', async () => {
    const phone = await connect({ url: server.url, device: 'phone' });
    clients.push(phone);
    await expect(phone.online()).rejects.toMatchObject({ code: 'unauthenticated' });
  });
});

test('a client ends with its signal: what waits is told', async () => {
  const abort = new AbortController();
  const phone = await client(await person(), 'phone', { signal: abort.signal, store: memoryStore() });
  const session = phone.create({ n: 1 });
  await session.update(draft => void (draft.n = 2)).durable;
  const stream = session.stream();
  const next = stream.next();
  abort.abort();
  expect((await next).done).toBe(true);
  expect(phone.status.phase).toBe('closed');
  expect(() => phone.session('todo')).toThrow('closed');
  await expect(phone.online()).rejects.toThrow('closed');
});

test('a document of more than 64 KiB comes whole', async () => {
  const tokens = await person();
  const [phone, laptop] = [await client(tokens, 'phone'), await client(tokens, 'laptop')];
  const text = 'ÿ€𝄞 '.repeat(40_000);
  const here = phone.create({ text });
  await here.update(draft => void (draft.text += '!')).accepted;
  expect((await laptop.get<{ text: string }>(here.id)).state.text).toBe(`${text}!`);
  expect(await laptop.session<{ text: string }>(here.id).ready()).toEqual({ text: `${text}!` });
});
