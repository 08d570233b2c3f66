// Requests by the routes of REST: which wait, which are sent, and which are sent again when a connection was lost. Knows no
// route and reads no answer but the problems.

import { text } from '../codec/bytes.ts';
import { errorNumber } from '../codec/error.ts';
import type { Body, MessageOf } from '../codec/message.ts';
import { ServerError } from '../error.ts';
import type { Response } from './event.ts';

/** A request by one of the routes of REST. */
export type Request = Omit<Body<'Request'>, 'id'>;

interface Waiting {
  request: Request;
  sent: boolean;
  /** A former connection may have carried it out. */
  again: boolean;
}

export class Requests {
  readonly #waiting = new Map<bigint, Waiting>();

  get length(): number {
    return this.#waiting.size;
  }

  push(id: bigint, request: Request): void {
    this.#waiting.set(id, { request, sent: false, again: false });
  }

  remove(id: bigint): boolean {
    return this.#waiting.delete(id);
  }

  /** Takes out the one that is answered; `undefined` when nobody waits for it any more. */
  answer(response: Body<'Response'>): Response | ServerError | undefined {
    const waiting = this.#waiting.get(response.id);
    if (!waiting) return undefined;
    this.#waiting.delete(response.id);
    const headers = Object.fromEntries(response.headers.map(({ name, value }) => [name, value]));
    const { status, body } = response;
    if (status >= 200 && status < 300) return { status, headers, body };
    const error = problem(status, body);
    // What is gone may be what the first of two sendings has removed.
    const isRemoved = waiting.again && waiting.request.method === 'Delete' && error.code === 'not_found';
    return isRemoved ? { status: 204, headers: {}, body: new Uint8Array() } : error;
  }

  /** Those to be sent now, so that at most `most` are under way; marked as sent. */
  send(most: number): MessageOf<'Request'>[] {
    const all = [...this.#waiting];
    const underWay = all.filter(([, { sent }]) => sent).length;
    return all
      .filter(([, { sent }]) => !sent)
      .slice(0, Math.max(0, most - underWay))
      .map(([id, waiting]) => {
        waiting.sent = true;
        return { type: 'Request', id, ...waiting.request };
      });
  }

  /** The connection is gone: what may be sent twice waits for the next one, the rest fails. */
  onLinkLost(): bigint[] {
    const failed: bigint[] = [];
    for (const [id, waiting] of this.#waiting) {
      if (!waiting.sent) continue;
      waiting.sent = false;
      waiting.again = true;
      if (!isRepeatable(waiting.request)) failed.push(id);
    }
    for (const id of failed) this.#waiting.delete(id);
    return failed;
  }

  /** Takes out all. */
  drain(): bigint[] {
    const all = [...this.#waiting.keys()];
    this.#waiting.clear();
    return all;
  }
}

/** Whether twice has the effect of once. */
const isRepeatable = ({ method, headers }: Request): boolean =>
  method === 'Get' || method === 'Delete' || headers.some(({ name }) => name === 'idempotency-key');

/** The error that a problem (RFC 9457) tells of. A server may say no in another way; the status says it all the same. */
export function problem(status: number, body: Uint8Array): ServerError {
  let said: {
    code?: unknown;
    detail?: unknown;
    title?: unknown;
    retryable?: unknown;
    retryAfterMs?: unknown;
  } = {};
  try {
    said = Object(JSON.parse(text(body)));
  } catch {
    // The status has to do.
  }
  const code = typeof said.code === 'string' ? said.code : `status_${status}`;
  const detail = said.detail ?? said.title ?? '';
  const after = said.retryAfterMs;
  return new ServerError(
    code,
    errorNumber(code),
    String(detail),
    said.retryable === true,
    typeof after === 'number' ? after : undefined,
  );
}
