// What comes from the server, message by message: the other half of `core.ts`. Never sends by itself: it queues.

import { errorName, isRetryable } from '../codec/error.ts';
import type { Body, Message, MessageOf } from '../codec/message.ts';
import { RefusedError, ServerError } from '../error.ts';
import type { Connection } from './connection.ts';
import type { Core } from './core.ts';
import { Divergence, type Session, type SessionMessage, serverError } from './session.ts';

/** Takes one message in. Throws `FaultError` when the server broke the rules. */
export function receive(core: Core, connection: Connection, now: number, message: Message): void {
  switch (message.type) {
    case 'Welcome':
      connection.welcome = message;
      connection.rtt ??= now - connection.since;
      core.events.push({ type: 'connected', welcome: message });
      return core.welcomed(message.user);
    case 'Refused':
      return onRefused(core, now, message);
    case 'Ping':
      return core.say({ type: 'Pong', nonce: message.nonce });
    case 'Pong':
      connection.ponged(now, message.nonce);
      core.events.push({ type: 'ponged' });
      return;
    case 'Close': {
      const { code, text } = message;
      return core.ended(now, new ServerError(errorName(code), code, text, !code || isRetryable(code)));
    }
    case 'Draining': {
      const { reconnect_after_ms, window_ms, address } = message;
      return core.drainAt(now, Number(reconnect_after_ms), Number(window_ms), address);
    }
    case 'Response': {
      const answer = core.asked.answer(message);
      if (answer) core.events.push({ type: 'answered', request: message.id, answer });
      return core.sendRequests();
    }
    case 'Error':
      return onError(core, now, message);
    default:
      // What only clients say is refused before it gets here, and documents are not asked for.
      return onSession(core, now, message as MessageOf<SessionMessage>);
  }
}

/** What is said about one session. Messages about sessions that were left are leftovers. */
function onSession(
  core: Core,
  now: number,
  message: MessageOf<SessionMessage | 'Unsubscribed' | 'SessionDeleted'>,
): void {
  const { type, session: id } = message;
  within(core, now, id, session => {
    if (type === 'Unsubscribed') {
      const { state, id } = session.subscription;
      if (state === 'leaving' && id === message.id) core.leave(session);
    } else if (type === 'SessionDeleted') {
      core.events.push({ type: 'session', session: id, event: { kind: 'deleted' } });
      end(core, id, serverError('not_found', 'deleted'));
    } else {
      (session[`on${type}`] as ((message: Message) => void) | undefined)?.(message);
      // After `Lagged`: subscribing again from where the client stands brings the presence anew.
      if (type === 'Created' || type === 'Lagged') core.ask(id, now);
      if (type === 'AccessChanged' && message.role === undefined && message.user === core.user) {
        end(core, id, serverError('not_found', 'no member any more'));
      }
    }
  });
}

/** Lets a session take something in. */
function within(core: Core, now: number, id: string, take: (session: Session) => void): void {
  const session = core.sessions.get(id);
  if (!session) return;
  try {
    take(session);
  } catch (error) {
    if (error instanceof Divergence) core.doubt(session);
    throw error;
  } finally {
    if (core.sessions.has(id)) core.tidy(session, now);
  }
}

function end(core: Core, id: string, error: ServerError): void {
  const session = core.sessions.get(id);
  if (!session) return;
  session.end(error);
  core.leave(session);
}

function onRefused(core: Core, now: number, refused: Body<'Refused'>): void {
  const error = errorOf(refused);
  if (error.code === 'unauthenticated' || error.code === 'token_expired') return core.ended(now, error);
  core.hangUp(0, '');
  if (error.retryable) core.lost(now, error, error.retryAfter);
  else core.stop(error);
}

const errorOf = ({ code, name, text, retryable, retry_after_ms }: Body<'Refused'>): ServerError =>
  new ServerError(
    name,
    code,
    text,
    retryable,
    retry_after_ms === undefined ? undefined : Number(retry_after_ms),
  );

/** Codes that end the connection: what the client did wrong, who it is, and where it is not wanted now. */
const isFatal = ({ number }: ServerError): boolean =>
  (number >= 100 && number <= 107) || [200, 201, 210, 301, 303].includes(number);

function onError(core: Core, now: number, message: Body<'Error'>): void {
  const error = errorOf(message);
  const { session: id, op, answers } = message;
  const session = id === undefined ? undefined : core.sessions.get(id);
  if (session && error.code === 'moved') {
    core.moved(now, session, error, message.address);
  } else if (id !== undefined && op !== undefined) {
    if (session) onOpError(core, now, session, op, error);
  } else if (answers !== undefined) {
    onRequestError(core, now, answers, error);
  } else if (isFatal(error)) {
    core.ended(now, error);
  } else if (session) {
    onSessionError(core, now, session, error);
  } else {
    core.events.push({ type: 'warning', error });
  }
}

function onOpError(core: Core, now: number, session: Session, counter: bigint, error: ServerError): void {
  if (error.retryable) {
    if (session.queue.get(counter)) {
      // Not applied: this op and all after it go out again, in order.
      session.queue.rewind(counter);
      core.pause(now, session, error.retryAfter);
    }
    return;
  }
  session.busyRounds = 0;
  const wasUnmade = session.isUnmade;
  session.refuse(counter, new RefusedError(error));
  if (wasUnmade && !session.replica && !session.queue.length) end(core, session.id, error);
  else core.tidy(session, now);
}

function onRequestError(core: Core, now: number, request: bigint, error: ServerError): void {
  for (const session of core.sessions.values()) {
    if (session.subscription.id !== request) continue;
    if (session.subscription.state === 'leaving') core.leave(session);
    else onSessionError(core, now, session, error);
    return;
  }
  core.events.push({ type: 'warning', error });
}

/** A subscription could not be had, or is over. */
function onSessionError(core: Core, now: number, session: Session, error: ServerError): void {
  if (!error.retryable) return end(core, session.id, error);
  const { state } = session.subscription;
  if (state === 'asked' || state === 'resuming') {
    session.subscription = { state: 'idle' };
    core.pause(now, session, error.retryAfter);
  }
  core.events.push({ type: 'warning', error });
}
