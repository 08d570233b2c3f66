// The WebSocket of Node, frame by frame (RFC 6455).

import { expect, test } from 'vitest';
import { clientFrame, FrameParser } from '../../src/transport/node-websocket.ts';

/** A server's frame. */
function frame(opcode: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const head =
    length < 126
      ? [0x80 | opcode, length]
      : length < 65_536
        ? [0x80 | opcode, 126, length >> 8, length & 255]
        : [
            0x80 | opcode,
            127,
            0,
            0,
            0,
            0,
            length >>> 24,
            (length >> 16) & 255,
            (length >> 8) & 255,
            length & 255,
          ];
  return Uint8Array.of(...head, ...payload);
}

/** What comes out when the bytes come in chunks of this size; data joined. */
function parsed(bytes: Uint8Array, chunk: number): unknown[] {
  const parser = new FrameParser();
  const parts: unknown[] = [];
  let data: number[] = [];
  const flush = () => {
    if (data.length)
      parts.push(['data', data.length, data.reduce((sum, byte) => (sum * 31 + byte) % 65_521, 7)]);
    data = [];
  };
  for (let at = 0; at < bytes.length; at += chunk) {
    for (const part of parser.push(bytes.slice(at, at + chunk))) {
      if (part.kind === 'data') {
        data.push(...part.bytes);
        continue;
      }
      flush();
      parts.push(part.kind === 'close' ? ['close', part.code, part.reason] : [part.kind]);
    }
  }
  flush();
  return parts;
}

test('frames of every length, with pings between them, in chunks of any size', () => {
  const payloads = [0, 1, 125, 126, 127, 65_535, 65_536].map(size => new Uint8Array(size).fill(size % 251));
  const bytes = payloads.flatMap(payload => [...frame(2, payload), ...frame(9, Uint8Array.of(1, 2))]);
  const whole = parsed(Uint8Array.from(bytes), 1 << 30);
  expect(whole.filter(part => (part as unknown[])[0] === 'ping')).toHaveLength(7);
  for (const chunk of [1, 2, 3, 7, 1000]) expect(parsed(Uint8Array.from(bytes), chunk)).toEqual(whole);
});

test('a close tells its code and reason', () => {
  const reason = new TextEncoder().encode('replaced');
  expect(parsed(frame(8, Uint8Array.of(4210 >> 8, 4210 & 255, ...reason)), 3)).toEqual([
    ['close', 4210, 'replaced'],
  ]);
  expect(parsed(frame(8, new Uint8Array()), 1)).toEqual([['close', undefined, 'WebSocket close 1005']]);
});

test.each<[string, number[]]>([
  ['a reserved bit', [0xc2, 0]],
  ['a mask', [0x82, 0x80]],
  ['a ping of 126 bytes', [0x89, 126]],
])('%s, which no server may send, ends it', (_, bytes) => {
  expect(parsed(Uint8Array.from(bytes), 1 << 30)).toEqual([['broken']]);
});

test.each([0, 1, 125, 126, 65_535, 65_536])(
  'a client frame of %i bytes is masked, and is the payload under its mask',
  size => {
    const payload = Uint8Array.from({ length: size }, (_, i) => i % 256);
    const made = clientFrame(2, payload);
    expect(made[0]).toBe(0x82);
    expect((made[1] ?? 0) & 0x80).toBe(0x80);
    const head = size < 126 ? 2 : size < 65_536 ? 4 : 10;
    const mask = made.subarray(head, head + 4);
    const unmasked = made.subarray(head + 4).map((byte, i) => byte ^ (mask[i & 3] ?? 0));
    expect(Buffer.compare(unmasked, payload)).toBe(0);
  },
);
