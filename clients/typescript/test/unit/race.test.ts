// Which transport wins, and what is remembered; and WebTransport itself, over one that this test plays.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Link, LinkHandler, Stream, Transport } from '../../src/api.ts';
import { encode } from '../../src/codec/message.ts';
import { lazy } from '../../src/transport/lazy.ts';
import { type Memory, race } from '../../src/transport/race.ts';
import { webTransport } from '../../src/transport/webtransport.ts';

const target = { url: new URL('https://example.com') };

/** A transport whose links do what the test says. */
class Played implements Transport {
  handlers: LinkHandler[] = [];
  closed: [number, string][] = [];
  sent: Uint8Array[] = [];
  readonly streams: 1 | 2;

  constructor(streams: 1 | 2) {
    this.streams = streams;
  }

  open(_: unknown, handler: LinkHandler): Link {
    this.handlers.push(handler);
    return {
      streams: this.streams,
      buffered: 7,
      send: bytes => this.sent.push(bytes),
      close: (code, reason) => this.closed.push([code, reason]),
    };
  }
}

class Heard implements LinkHandler {
  said: unknown[][] = [];
  onOpen = (name: string) => this.said.push(['open', name]);
  onBytes = (bytes: Uint8Array, stream: Stream) => this.said.push(['bytes', [...bytes], stream]);
  onDrain = () => this.said.push(['drain']);
  onClose = (code: number | undefined, reason: string) => this.said.push(['close', code, reason]);
}

function memory(): Memory & { entries: Map<string, string> } {
  const entries = new Map<string, string>();
  return {
    entries,
    getItem: key => entries.get(key) ?? null,
    setItem: (key, value) => entries.set(key, value),
    removeItem: key => entries.delete(key),
  };
}

let first: Played;
let second: Played;
let heard: Heard;
beforeEach(() => {
  vi.useFakeTimers();
  first = new Played(2);
  second = new Played(1);
  heard = new Heard();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test('the first has a head start of 200 ms; who stands first wins, and the other is let go', () => {
  const link = race(first, second, memory()).open(target, heard);
  vi.advanceTimersByTime(199);
  expect(second.handlers).toHaveLength(0);
  vi.advanceTimersByTime(1);
  expect(second.handlers).toHaveLength(1);
  first.handlers[0]?.onOpen('webtransport');
  expect(second.closed).toHaveLength(1);
  expect(link.streams).toBe(2);
  link.send(Uint8Array.of(1), 1);
  expect(first.sent).toEqual([Uint8Array.of(1)]);
  first.handlers[0]?.onBytes(Uint8Array.of(2), 1);
  first.handlers[0]?.onClose(210, 'replaced');
  expect(heard.said).toEqual([
    ['open', 'webtransport'],
    ['bytes', [2], 1],
    ['close', 210, 'replaced'],
  ]);
});

test('the second does not wait for who has failed; when both have, that is told once', () => {
  race(first, second, memory()).open(target, heard);
  first.handlers[0]?.onClose(undefined, 'no UDP here');
  expect(second.handlers).toHaveLength(1);
  expect(heard.said).toEqual([]);
  second.handlers[0]?.onClose(undefined, 'nothing here');
  expect(heard.said).toEqual([['close', undefined, 'nothing here']]);
  vi.runAllTimers();
  expect(second.handlers).toHaveLength(1);
});

test('that the second has won is remembered for ten minutes, and forgotten when the first wins', () => {
  const remembered = memory();
  const transport = race(first, second, remembered);
  transport.open(target, heard);
  first.handlers[0]?.onClose(undefined, '');
  second.handlers[0]?.onOpen('websocket');
  transport.open(target, heard);
  expect(first.handlers).toHaveLength(1);
  expect(second.handlers).toHaveLength(2);
  vi.advanceTimersByTime(600_001);
  transport.open(target, heard);
  expect(first.handlers).toHaveLength(2);
  first.handlers[1]?.onOpen('webtransport');
  expect(remembered.entries.size).toBe(0);
});

test('a race that is given up ends both', () => {
  const link = race(first, second, memory()).open(target, heard);
  vi.advanceTimersByTime(200);
  link.close(0, 'enough');
  expect([...first.closed, ...second.closed]).toEqual([
    [0, 'enough'],
    [0, 'enough'],
  ]);
});

test('a transport that cannot be loaded is done without', async () => {
  vi.useRealTimers();
  const link = lazy(() => Promise.reject(new Error('offline')), second).open(target, heard);
  await vi.waitFor(() => expect(second.handlers).toHaveLength(1));
  expect(link.buffered).toBe(7);
});

test('WebTransport: certificate hashes, two streams, the first frame, and the end', async () => {
  vi.useRealTimers();
  const options: unknown[] = [];
  const written: [number, Uint8Array][] = [];
  const readers: ReadableStreamDefaultController<Uint8Array>[] = [];
  let end: (info: { closeCode: number; reason: string }) => void = () => {};
  const closed: unknown[] = [];
  vi.stubGlobal('fetch', async (url: URL) => {
    expect(url.href).toBe('https://example.com/api/v1/webtransport');
    return Response.json({
      url: 'https://example.com:7400/wt',
      protocols: ['syncbridge.v1'],
      serverCertificateHashes: [{ algorithm: 'sha-256', value: '00ff' }],
    });
  });
  vi.stubGlobal(
    'WebTransport',
    class {
      ready = Promise.resolve();
      closed = new Promise(resolve => {
        end = resolve;
      });
      constructor(...given: unknown[]) {
        options.push(given);
      }
      async createBidirectionalStream() {
        const index = readers.length;
        return {
          readable: new ReadableStream<Uint8Array>({ start: controller => void readers.push(controller) }),
          writable: new WritableStream<Uint8Array>({ write: bytes => void written.push([index, bytes]) }),
        };
      }
      close(info: unknown) {
        closed.push(info);
      }
    },
  );
  const link = webTransport().open(target, heard);
  await vi.waitFor(() => expect(heard.said).toContainEqual(['open', 'webtransport']));
  expect(options).toEqual([
    [
      'https://example.com:7400/wt',
      {
        protocols: ['syncbridge.v1'],
        serverCertificateHashes: [{ algorithm: 'sha-256', value: Uint8Array.of(0, 255) }],
      },
    ],
  ]);
  link.send(Uint8Array.of(1), 0);
  link.send(Uint8Array.of(2), 1);
  await vi.waitFor(() => expect(link.buffered).toBe(0));
  const on = (stream: number) => written.filter(([index]) => index === stream).map(([, bytes]) => [...bytes]);
  expect(on(0)).toEqual([[1]]);
  expect(on(1)).toEqual([[...encode({ type: 'StreamOpen', class: 1 })], [2]]);
  readers[1]?.enqueue(Uint8Array.of(9));
  await vi.waitFor(() => expect(heard.said).toContainEqual(['bytes', [9], 1]));
  end({ closeCode: 200, reason: 'unauthenticated' });
  await vi.waitFor(() => expect(heard.said.at(-1)).toEqual(['close', 200, 'unauthenticated']));
});

test('a server that offers no WebTransport is a failed attempt', async () => {
  vi.useRealTimers();
  vi.stubGlobal('fetch', async () => new Response('', { status: 404 }));
  webTransport().open(target, heard);
  await vi.waitFor(() => expect(heard.said[0]?.[0]).toBe('close'));
});
