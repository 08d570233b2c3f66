// The codec against every vector of proto-spec: both directions, in chunks of any size.

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Writer } from '../../src/codec/bytes.ts';
import { errorName, errorNumber, isRetryable, ProtocolError } from '../../src/codec/error.ts';
import { Decoder, encodeVarint } from '../../src/codec/frame.ts';
import { decode, encode, MESSAGES, type Message, type Name } from '../../src/codec/message.ts';
import { Handshake } from '../../src/core/connection.ts';

const SPEC = new URL('../../../../proto-spec/', import.meta.url);
// biome-ignore lint/suspicious/noExplicitAny: what the files hold is what they are read for.
const read = (path: string): any => JSON.parse(readFileSync(new URL(`vectors/${path}`, SPEC), 'utf8'));
const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** One case of a file of vectors. */
// biome-ignore lint/suspicious/noExplicitAny: see above.
type Case = any;

/** A message's fields as the vectors write them. Which numbers are text is told by the type: bigint. */
function fields(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map(fields);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, fields(field)]));
  }
  return value;
}

/** The fields of a decoded message, without its name. */
function shown({ type: _, ...rest }: Message): unknown {
  return fields(rest);
}

/** A vector's fields as the codec takes them: read by the shape of the decoded message. */
function parsed(like: unknown, value: unknown): unknown {
  if (value === null) return undefined;
  if (typeof like === 'bigint') return BigInt(value as string);
  if (like instanceof Uint8Array) return bytes(value as string);
  if (Array.isArray(like)) return like.map((item, i) => parsed(item, (value as unknown[])[i]));
  if (typeof like === 'object' && like !== null) {
    const entries = Object.entries(like).map(([key, field]) => [key, parsed(field, (value as never)[key])]);
    return Object.fromEntries(entries);
  }
  return value;
}

/** All frames that come out of bytes which arrive in chunks of this size. */
function frames(
  input: Uint8Array,
  chunk: number,
  max: number,
): { frames: Uint8Array[]; error: string | null; rest: number } {
  const decoder = new Decoder(max);
  const frames: Uint8Array[] = [];
  try {
    for (let at = 0; at < input.length; at += chunk) {
      decoder.push(input.slice(at, at + chunk));
      for (let frame = decoder.next(); frame; frame = decoder.next()) frames.push(frame.slice());
    }
  } catch (error) {
    return { frames, error: (error as ProtocolError).name, rest: decoder.rest };
  }
  return { frames, error: null, rest: decoder.rest };
}

const MAX = 64 << 20;
const body = (frame: string) => {
  const { frames: all } = frames(bytes(frame), 1 << 30, MAX);
  if (all.length !== 1) throw new Error(`${all.length} frames`);
  return all[0] as Uint8Array;
};

const valid = readdirSync(new URL('vectors/valid/', SPEC)).filter(name => !name.startsWith('_'));

test('every message of the registry has vectors, and every file of vectors a message', () => {
  expect(valid.map(name => name.replace('.json', '')).sort()).toEqual(Object.keys(MESSAGES).sort());
});

describe.each(valid)('%s', file => {
  const { message, type, cases } = read(`valid/${file}`);

  test('has the number of the registry', () => {
    expect(MESSAGES[message as Name].number).toBe(Number(type));
  });

  test.each<Case>(cases)('$name', ({ frame, fields: expected }) => {
    const decoded = decode(body(frame)) as Message;
    expect(decoded.type).toBe(message);
    expect(shown(decoded)).toEqual(expected);
    const { type: _, ...like } = decoded;
    const made = { type: message, ...(parsed(like, expected) as object) } as Message;
    expect(hex(encode(made))).toBe(frame);
  });
});

test.each<Case>(read('valid/_evolution.json').cases)(
  'evolution: $name',
  ({ message, frame, fields: expected }) => {
    const decoded = decode(body(frame));
    if (message === null) {
      expect(decoded).toBeUndefined();
    } else {
      expect(decoded?.type).toBe(message);
      expect(shown(decoded as Message)).toEqual(expected);
      expect(hex(encode(decoded as Message))).not.toBe(frame);
    }
  },
);

test.each<Case>(read('valid/_streams.json').cases)('streams: $name', ({ bytes: input, messages }) => {
  for (const chunk of [1, 2, 3, 7, 1 << 30]) {
    const result = frames(bytes(input), chunk, MAX);
    expect(result).toMatchObject({ error: null, rest: 0 });
    const known = result.frames.map(frame => decode(frame)?.type).filter(name => name !== undefined);
    expect(known).toEqual(messages);
  }
});

test.each<Case>(read('golden/bincode.json').cases)(
  'golden: $message',
  ({ message, fields: expected, body: golden }) => {
    const { number } = MESSAGES[message as Name];
    const writer = new Writer();
    encodeVarint(writer, number);
    writer.put(bytes(golden));
    const decoded = decode(writer.finish()) as Message;
    expect(decoded.type).toBe(message);
    expect(shown(decoded)).toEqual(expected);
    expect(hex(encode(decoded))).toContain(golden);
  },
);

const invalidFrames = read('invalid/frames.json');
test.each<Case>(invalidFrames.cases)('invalid frames: $name', ({ bytes: input, frames: whole, error }) => {
  for (const chunk of [1, 2, 3, 1 << 30]) {
    const result = frames(bytes(input), chunk, invalidFrames.max_frame);
    const refused = result.error ?? tryDecode(result.frames.at(-1) as Uint8Array);
    expect(refused).toBe(error);
    expect(result.frames.length - (result.error ? 0 : 1)).toBe(whole);
  }
});

function tryDecode(frame: Uint8Array): string | null {
  try {
    decode(frame);
    return null;
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return error.name;
  }
}

test.each<Case>(read('invalid/messages.json').cases)('invalid messages: $name', ({ frame, error }) => {
  expect(tryDecode(body(frame))).toBe(error);
});

const handshakes = read('invalid/handshake.json').cases.filter(({ to }: { to: string }) => to === 'client');
test.each<Case>(handshakes)('handshake: $name', ({ frames: all, error }) => {
  const handshake = new Handshake();
  const last = all.pop();
  for (const frame of all) handshake.receive(decode(body(frame)) as Message);
  let refused: unknown;
  try {
    handshake.receive(decode(body(last)) as Message);
  } catch (thrown) {
    refused = thrown;
  }
  expect((refused as ProtocolError | undefined)?.name).toBe(error);
});

test('what is known of errors is what proto-spec/errors.md says', () => {
  const table = readFileSync(new URL('errors.md', SPEC), 'utf8');
  const rows = [...table.matchAll(/^\| (\d{3}) \| `(\w+)` \| \w+ \| (yes|no) \|/gm)];
  expect(rows.length).toBeGreaterThan(40);
  let known = 0;
  for (const [, number, name, retryable] of rows) {
    expect(isRetryable(Number(number)), name).toBe(retryable === 'yes');
    if (errorNumber(name as string) === 0) continue;
    known++;
    expect(errorNumber(name as string)).toBe(Number(number));
    expect(errorName(Number(number))).toBe(name);
  }
  expect(known).toBeGreaterThan(15);
});
