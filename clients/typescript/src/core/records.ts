// What has to outlive the process so that no update is lost and none is made twice, as entries of a store: the incarnation,
// each session's counter and document, each op that is not durable. Entries are what the core has, as structured clone
// copies it; they are read by the same version of this file that wrote them. Reads and writes nothing by itself.

import { freeze } from '../document/value.ts';
import type { Op } from './queue.ts';
import type { Replica, Session, Unsent } from './session.ts';

/** Grows when entries change their form: what an older version wrote is left alone, and nothing is resumed from it. */
const FORMAT = 1;
const META = 'meta';

/** What belongs to no session. */
export interface Meta {
  format: number;
  incarnation: bigint;
  /** Whose it is; `undefined` until a server has said so. */
  user: string | undefined;
}

/** The key of an entry. Session ids have no spaces. */
export const keyOf = (kind: 'meta' | 'session' | 'document' | 'op', id = '', counter?: bigint): string =>
  kind === META ? META : counter === undefined ? `${kind} ${id}` : `${kind} ${id} ${counter}`;

/** What a key is made of. */
export function parseKey(key: string): { kind: string; id: string; counter: bigint } {
  const [kind = '', id = '', counter = '0'] = key.split(' ');
  return { kind, id, counter: BigInt(counter) };
}

export const meta = (incarnation: bigint, user: string | undefined): Meta => ({
  format: FORMAT,
  incarnation,
  user,
});

/** An op that waits, or an update that is unsent. */
export const opEntry = (session: Session, counter: bigint): Op | { unsent: Unsent } | undefined => {
  const unsent = session.unsent.find(unsent => unsent.counter === counter);
  return unsent ? { unsent } : session.queue.get(counter);
};

export const sessionEntry = ({ queue, wanted }: Session) => ({ last: queue.last, wanted });

/** A session as it was written down. */
export interface Restored {
  last: bigint;
  wanted: boolean;
  replica: Replica | undefined;
  ops: Op[];
  unsent: Unsent[];
}

/** Puts the entries of a store together again. */
export function restore(entries: ReadonlyMap<string, unknown>): {
  meta: Meta | undefined;
  sessions: Map<string, Restored>;
} {
  const meta = entries.get(META) as Meta | undefined;
  const sessions = new Map<string, Restored>();
  if (meta?.format !== FORMAT) return { meta: undefined, sessions };
  for (const [key, value] of entries) {
    const { kind, id } = parseKey(key);
    if (kind !== 'session') continue;
    const replica = entries.get(keyOf('document', id)) as Replica | undefined;
    if (replica) freeze(replica.document);
    sessions.set(id, { ...(value as ReturnType<typeof sessionEntry>), replica, ops: [], unsent: [] });
  }
  for (const [key, value] of entries) {
    const { kind, id } = parseKey(key);
    const session = sessions.get(id);
    if (kind !== 'op' || !session) continue;
    const entry = value as Op | { unsent: Unsent };
    if ('unsent' in entry) {
      freeze(entry.unsent.body.patch);
      session.unsent.push(entry.unsent);
    } else session.ops.push(restoreOp(entry, session.replica?.at.version ?? 0n));
  }
  for (const { ops, unsent } of sessions.values()) {
    for (const all of [ops, unsent]) all.sort((a, b) => (a.counter < b.counter ? -1 : 1));
  }
  return { meta, sessions };
}

function restoreOp(op: Op, have: bigint): Op {
  // The document that was written down may be an older one: then the server is asked again.
  const isContained = op.progress === 'contained' && op.version <= have;
  const body = { ...op.body };
  if (body.kind === 'update') freeze(body.patch);
  if (body.kind === 'create') freeze(body.state);
  return {
    ...op,
    body,
    progress: isContained ? 'contained' : 'pending',
    confirmed: false,
    durable: false,
    skipped: false,
    stored: true,
  };
}
