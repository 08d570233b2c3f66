// What comes from the server, message by message: the other half of `core.ts`. Never sends by itself: it queues.

import { errorName, isRetryable } from '../codec/error.ts';
import type { Body, Message } from '../codec/message.ts';
import { RefusedError, ServerError } from '../error.ts';
import type { Connection } from './connection.ts';
import type { Core } from './core.ts';
import { Divergence, type Session, serverError } from './session.ts';

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
      return onSession(core, now, message);
  }
}

/** What is said about one session. Messages about sessions that were left are leftovers. */
function onSession(core: Core, now: number, message: Message): void {
  const { incarnation, limits } = core.config;
  const to = (take: (session: Session) => void) =>
    within(core, now, (message as { session: string }).session, take);
  switch (message.type) {
    case 'Created':
      to(session => session.onCreated(message));
      return core.ask(message.session, now);
    case 'Resumed':
      return to(session => session.onResumed(message));
    case 'Reset':
      return to(session => session.onReset(message, limits.maxDocument));
    case 'Unsubscribed':
      return to(session => {
        const { state, id } = session.subscription;
        if (state === 'leaving' && id === message.id) core.leave(session);
      });
    case 'Accepted':
      return to(session => session.onAccepted(message, incarnation));
    case 'Conflict':
      return to(session => session.onConflict(message));
    case 'SnapshotBegin':
      return to(({ assembly }) => assembly?.begin(message.at, message.size));
    case 'SnapshotPart':
      return to(({ assembly }) => assembly?.part(message.offset, message.bytes));
    case 'SnapshotEnd':
      return to(session => session.onSnapshotEnd(message.checksum));
    case 'Delta':
      return to(session => session.onDelta(message, incarnation));
    case 'Durable':
      return to(session => session.onDurable(message.at));
    case 'Presence':
      return to(session => session.onPresence(message));
    case 'DeviceJoined':
      return to(session => session.onJoined(message));
    case 'DeviceLeft':
      return to(session => session.onLeft(message));
    case 'HandoffRequested':
      return to(session => session.onHandoffRequested(message));
    case 'HandoffCompleted':
      return to(session => session.onHandoffCompleted(message));
    case 'Lagged':
      to(session => session.onLagged(message));
      // Subscribing again from where the client stands brings the presence anew.
      return core.ask(message.session, now);
    case 'AccessChanged':
      to(session => session.onAccessChanged(message));
      if (message.role === undefined && message.user === core.user) {
        end(
          core,
          message.session,
          serverError('not_found', 'this user is no member of the session any more'),
        );
      }
      return;
    case 'SessionDeleted':
      to(() => core.events.push({ type: 'session', session: message.session, event: { kind: 'deleted' } }));
      return end(core, message.session, serverError('not_found', 'the session was deleted'));
    default:
    // What only clients say is refused before it gets here.
  }
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
  if (id !== undefined && op !== undefined) {
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
  session.refuse(counter, new RefusedError({ code: error.code, number: error.number, text: error.message }));
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
