// People at work, for a console that has something to show: lists that are written and read over many connections, and a
// reader that stopped reading. As much as a laptop bears beside a browser.
import { connect, type Socket } from 'node:net';
import { type Client, connect as connectClient } from '@syncbridge/client';
import type { Server } from './server.ts';
import type { Account } from './world.ts';

/** Sessions, each with a writer and some readers; the first has the most. */
const SESSIONS = 6;
const READERS = 10;
/** Milliseconds between two updates of one writer, and letters of one. */
const PAUSE = 12;
const LETTERS = 120;
/** The same for the session whose reader stops: what it does not take fills every buffer within seconds. */
const STUCK = { pause: 40, letters: 30_000 } as const;

interface Board {
  notes: Record<string, string>;
}

/** Begins; what comes back ends it. */
export async function busy(server: Server, account: Account): Promise<() => Promise<void>> {
  const clients: Client[] = [];
  const client = async (device: string) => {
    const made = await connectClient({ url: server.url, token: account.token, device });
    clients.push(made);
    return made;
  };
  const timers: ReturnType<typeof setInterval>[] = [];
  const board = async (id: string, readers: number, pause: number, letters: number) => {
    await server.call('POST', '/sessions', account.token, { sessionId: id, state: { notes: {} } });
    const session = (await client(`${id}-writer`)).session<Board>(id);
    await session.ready();
    for (let reader = 1; reader <= readers; reader += 1) {
      await (await client(`${id}-screen-${reader}`)).session<Board>(id).ready();
    }
    let count = 0;
    const write = () => {
      count += 1;
      const value = `${count} `.repeat(letters).slice(0, letters);
      const operation = { op: 'add', path: `/notes/n${count % 20}`, value } as const;
      // How it went is the console's to show.
      session.patch([operation], { durability: 'accepted', after: 'nothing' }).accepted.catch(() => {});
    };
    timers.push(setInterval(write, pause));
  };
  for (let at = 1; at <= SESSIONS; at += 1) {
    await board(`board-${at}`, Math.ceil(READERS / at), PAUSE, LETTERS);
  }
  await board('archive', 0, STUCK.pause, STUCK.letters);
  const stuck = await stopped(server, account, 'archive');
  return async () => {
    timers.forEach(clearInterval);
    stuck.destroy();
    await Promise.all(clients.map(client => client.close()));
  };
}

/** A connection that subscribes and then reads nothing more. */
async function stopped({ url }: Server, { token }: Account, sessionId: string): Promise<Socket> {
  const { hostname, port, host } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {}); // The server may end it.
  const told = new Promise<void>((resolve, reject) => {
    let heard = '';
    socket.on('data', bytes => {
      heard += bytes.toString('latin1');
      if (heard.includes('state_sync')) resolve();
    });
    socket.on('close', () => reject(new Error(`the server ended the connection: ${heard}`)));
  });
  socket.write(
    `GET /ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  socket.write(masked({ type: 'auth', token, deviceId: 'a-laptop-that-was-closed' }));
  socket.write(masked({ type: 'subscribe', sessionId }));
  await told;
  socket.removeAllListeners('data');
  socket.pause();
  return socket;
}

/** A text message of a client (RFC 6455 §5.2), masked with zeros. */
function masked(message: object): Buffer {
  const payload = Buffer.from(JSON.stringify(message));
  const { length } = payload;
  const head = length < 126 ? [0x80 | length] : [0x80 | 126, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([0x81, ...head]), Buffer.alloc(4), payload]);
}
