// The registry of proto-spec/messages.md: every message, its number and its fields, by the names that they have there.
// Each message and each direction is here once; types and codec are made from it.

import { Reader, Writer } from './bytes.ts';
import { ProtocolError } from './error.ts';
import { decodeVarint, encodeVarint } from './frame.ts';
import {
  appended,
  bool,
  bytes,
  type Infer,
  list,
  optional,
  record,
  tag,
  text,
  u8,
  u32,
  u64,
  u128,
} from './schema.ts';

const policy = tag('LastWriterWins', 'Merge', 'Reject');
const devicePolicy = tag('Many', 'Exclusive', 'Ask');
const position = record({ epoch: u64, version: u64 });
const origin = record({ incarnation: u128, counter: u64 });
const attached = record({
  device: text,
  user: text,
  transport: tag('Quic', 'WebSocket', 'Json', 'WebTransport', 'Memory'),
});
const header = record({ name: text, value: text });
const scope = record({ kind: tag('User', 'Session', 'Machine'), id: text });
const cursor = record({ kind: tag('State', 'Notice'), topic: text, epoch: u64, seq: u64 });

/** Who may send it: the client (`c`), the server (`s`), both (`b`). */
type Direction = 'c' | 's' | 'b';

const message = <F extends Parameters<typeof record>[0]>(number: number, from: Direction, fields: F) => ({
  number,
  from,
  body: record(fields),
});

/** Every message. */
export const MESSAGES = {
  Hello: message(0x00, 'c', {
    min_version: u32,
    max_version: u32,
    capabilities: u64,
    token: text,
    device: text,
    incarnation: u128,
    scope,
    resume: list(cursor),
    agent: appended(text),
    resume_notices: appended(bool),
    resume_durable: appended(bool),
  }),
  Welcome: message(0x02, 's', {
    version: u32,
    capabilities: u64,
    connection: u64,
    epoch: u64,
    server_time_ms: u64,
    user: text,
    max_client_frame: u64,
    max_server_frame: u64,
    max_document: u64,
    max_subscriptions: u32,
    heartbeat_ms: u32,
    device: appended(text),
  }),
  Refused: message(0x04, 's', {
    code: u32,
    name: text,
    text,
    retryable: bool,
    retry_after_ms: optional(u64),
  }),
  Ping: message(0x06, 'b', { nonce: u64 }),
  Pong: message(0x08, 'b', { nonce: u64 }),
  Error: message(0x0a, 's', {
    code: u32,
    name: text,
    text,
    retryable: bool,
    answers: optional(u64),
    session: optional(text),
    op: optional(u64),
    retry_after_ms: optional(u64),
    address: appended(text),
  }),
  Draining: message(0x0b, 's', { reconnect_after_ms: u64, window_ms: u64, address: text }),
  Close: message(0x0c, 'b', { code: u32, text }),
  StreamOpen: message(0x0e, 'c', { class: u8 }),
  Create: message(0x10, 'c', {
    counter: u64,
    session: text,
    state: bytes,
    conflict: policy,
    devices: devicePolicy,
  }),
  Created: message(0x12, 's', { counter: u64, session: text, epoch: u64, version: u64 }),
  Get: message(0x14, 'c', { id: u64, session: text }),
  Document: message(0x16, 's', {
    id: u64,
    session: text,
    at: position,
    state: optional(bytes),
    active_device: appended(optional(text)),
  }),
  Subscribe: message(0x18, 'c', {
    id: u64,
    session: text,
    have: optional(position),
    notices: bool,
    durable: bool,
  }),
  Resumed: message(0x1a, 's', { id: optional(u64), session: text, epoch: u64, after: u64, version: u64 }),
  Reset: message(0x1c, 's', {
    id: optional(u64),
    session: text,
    reason: tag('Initial', 'Lost', 'TooOld', 'Lagged', 'UnknownEpoch'),
    at: position,
    last_kept: optional(u64),
    state: optional(bytes),
  }),
  Unsubscribe: message(0x1e, 'c', { id: u64, session: text }),
  Unsubscribed: message(0x20, 's', { id: u64, session: text }),
  Update: message(0x22, 'c', {
    counter: u64,
    session: text,
    base: position,
    operations: bytes,
    durability: tag('Accepted', 'Notify', 'Durable'),
    on_conflict: optional(policy),
    after: optional(u64),
    lenient: bool,
  }),
  Accepted: message(0x24, 's', {
    counter: u64,
    session: text,
    at: position,
    durable: bool,
    operations: optional(bytes),
    changed: appended(bool),
  }),
  Conflict: message(0x26, 's', { counter: u64, session: text, at: position, paths: list(text) }),
  Delta: message(0x28, 's', {
    session: text,
    at: position,
    operations: bytes,
    device: text,
    origin,
    time_ms: appended(u64),
  }),
  Durable: message(0x2a, 's', { session: text, at: position }),
  SnapshotBegin: message(0x2c, 's', { session: text, at: position, size: u64 }),
  SnapshotPart: message(0x2e, 's', { session: text, offset: u64, bytes }),
  SnapshotEnd: message(0x30, 's', { session: text, checksum: u32 }),
  Presence: message(0x33, 's', {
    session: text,
    seq: u64,
    devices: list(attached),
    active_device: appended(optional(text)),
  }),
  DeviceJoined: message(0x35, 's', { session: text, seq: u64, device: attached }),
  DeviceLeft: message(0x37, 's', { session: text, seq: u64, device: text, user: text }),
  Lagged: message(0x38, 's', { session: text, from: u64, to: u64 }),
  Request: message(0x3a, 'c', {
    id: u64,
    method: tag('Get', 'Post', 'Put', 'Patch', 'Delete'),
    path: text,
    headers: list(header),
    body: bytes,
  }),
  Response: message(0x3c, 's', { id: u64, status: u32, headers: list(header), body: bytes }),
  HandoffRequested: message(0x3d, 's', {
    session: text,
    seq: u64,
    handoff: text,
    user: text,
    device: text,
    expires_ms: u64,
  }),
  HandoffAnswer: message(0x3e, 'c', { handoff: text, accept: bool }),
  HandoffCompleted: message(0x3f, 's', {
    session: text,
    seq: u64,
    handoff: text,
    from: optional(text),
    user: text,
    device: text,
  }),
  SessionDeleted: message(0x40, 's', { session: text }),
  AccessChanged: message(0x41, 's', {
    session: text,
    seq: u64,
    user: text,
    role: optional(tag('Viewer', 'Editor', 'Owner')),
  }),
};

/** The name of a message. */
export type Name = keyof typeof MESSAGES;
/** The fields of the message `N`. */
export type Body<N extends Name> = Infer<(typeof MESSAGES)[N]['body']>;
/** A message: its name, and its fields. */
export type Message = { [N in Name]: { type: N } & Body<N> }[Name];
/** The message `N`. */
export type MessageOf<N extends Name> = Extract<Message, { type: N }>;

export type Position = Infer<typeof position>;
export type Origin = Infer<typeof origin>;
export type Attached = Infer<typeof attached>;
export type Header = Infer<typeof header>;
export type ConflictPolicy = Infer<typeof policy>;
export type DevicePolicy = Infer<typeof devicePolicy>;

const byNumber = new Map(Object.entries(MESSAGES).map(([name, { number }]) => [number, name as Name]));

/** The frame that holds a message. */
export function encode(message: Message): Uint8Array {
  const { number, body } = MESSAGES[message.type];
  const writer = new Writer();
  encodeVarint(writer, number);
  body.write(writer, message as never);
  const rest = writer.finish();
  const frame = new Writer();
  encodeVarint(frame, rest.length);
  frame.put(rest);
  return frame.finish();
}

/** The message of a frame (without its length); `undefined` for one that is not known and may be skipped. */
export function decode(frame: Uint8Array): Message | undefined {
  const head = decodeVarint(frame, 0);
  if (!head) throw new ProtocolError('malformed_frame');
  const name = byNumber.get(head.value);
  if (!name) {
    if (head.isOdd) return undefined;
    throw new ProtocolError('unknown_message', `message ${head.value}`);
  }
  return { type: name, ...MESSAGES[name].body.read(new Reader(frame.subarray(head.end))) } as Message;
}

/** Whether a server may say this. */
export const isFromServer = (name: Name): boolean => MESSAGES[name].from !== 'c';
