// What has to outlive the process so that no update is lost and none is made twice, as entries of a store: the incarnation,
// each session's counter and document, each op that is not durable. Reads and writes nothing by itself.

import type { Json, Patch } from '../api.ts';
import { utf8 } from '../codec/bytes.ts';
import type { Position } from '../codec/message.ts';
import { checkPatch } from '../document/apply.ts';
import { type Touch, Touches } from '../document/touches.ts';
import { freeze, parseJson } from '../document/value.ts';
import { op as newOp, type Op } from './queue.ts';
import type { Session, Unsent } from './session.ts';

/** The key of what belongs to no session. */
export const META = 'meta';
/** Session ids have no spaces. */
export const sessionKey = (id: string): string => `session ${id}`;
export const documentKey = (id: string): string => `document ${id}`;
export const opKey = (id: string, counter: bigint): string => `op ${id} ${counter}`;

export interface MetaRecord {
  incarnation: string;
  /** Whose it is; absent until a server has said so. */
  user: string | undefined;
}

interface SessionRecord {
  /** The newest counter that was used. */
  last: bigint;
  /** Whether the application was subscribed. */
  wanted: boolean;
}

interface DocumentRecord {
  at: Position;
  /** JSON text: what came out of a store is checked by reading it. */
  text: string;
}

/** An op that is not durable, or an update that is unsent. */
type OpRecord = { counter: bigint } & (
  | {
      kind: 'create';
      text: string;
      conflict: 'LastWriterWins' | 'Merge' | 'Reject';
      devices: 'Many' | 'Exclusive' | 'Ask';
    }
  | { kind: 'given-up' }
  | ({
      kind: 'update';
      base: Position | undefined;
      touches: readonly Touch[];
      after: bigint[];
      /** The version that it made, when it was applied; whether the client's copy contained it. */
      applied: bigint | undefined;
      contained: boolean;
    } & Sending)
  | ({ kind: 'unsent' } & Sending)
);

interface Sending {
  text: string;
  durability: Unsent['durability'];
  onConflict: Unsent['onConflict'];
  lenient: boolean;
}

const sending = (of: Omit<Sending, 'text'> & { patch: Patch }): Sending => ({
  text: JSON.stringify(of.patch),
  durability: of.durability,
  onConflict: of.onConflict,
  lenient: of.lenient,
});

export const sessionRecord = ({ queue, wanted }: Session): SessionRecord => ({ last: queue.last, wanted });

export const documentRecord = ({ replica }: Session): DocumentRecord | undefined =>
  replica && { at: replica.at, text: JSON.stringify(replica.document) };

export function opRecord(session: Session, counter: bigint): OpRecord | undefined {
  const unsent = session.unsent.find(unsent => unsent.counter === counter);
  if (unsent) return { counter, kind: 'unsent', ...sending(unsent) };
  const op = session.queue.get(counter);
  if (!op) return undefined;
  const { body } = op;
  switch (body.kind) {
    case 'create':
      return {
        counter,
        kind: 'create',
        text: JSON.stringify(body.state),
        conflict: body.conflict,
        devices: body.devices,
      };
    case 'given-up':
      return { counter, kind: 'given-up' };
    case 'update':
      return {
        counter,
        kind: 'update',
        ...sending(body),
        base: body.base,
        touches: body.touches.all,
        after: body.after === undefined ? body.awaits : [body.after, ...body.awaits],
        applied: op.progress === 'pending' ? undefined : op.version,
        contained: op.progress === 'contained',
      };
  }
}

/** A session as it was written down. */
export interface Restored {
  last: bigint;
  wanted: boolean;
  replica: { document: Json; at: Position } | undefined;
  ops: Op[];
  unsent: Unsent[];
}

/** Puts the entries of a store together again. Throws when they were not made here. */
export function restore(entries: ReadonlyMap<string, unknown>): Map<string, Restored> {
  const sessions = new Map<string, Restored>();
  const records: { id: string; record: OpRecord }[] = [];
  for (const [key, value] of entries) {
    const [kind, id = ''] = key.split(' ');
    if (kind === 'session') {
      const { last, wanted } = value as SessionRecord;
      sessions.set(id, { last, wanted, replica: undefined, ops: [], unsent: [] });
    } else if (kind === 'op') {
      records.push({ id, record: value as OpRecord });
    }
  }
  for (const [id, session] of sessions) {
    const document = entries.get(documentKey(id)) as DocumentRecord | undefined;
    if (document) session.replica = { document: parseJson(document.text), at: document.at };
  }
  records.sort((a, b) => (a.record.counter < b.record.counter ? -1 : 1));
  for (const { id, record } of records) {
    const session = sessions.get(id);
    if (!session) throw new Error(`an update of the session ${id}, which is not there`);
    if (record.kind === 'unsent') session.unsent.push(restoreUnsent(record));
    else session.ops.push(restoreOp(record, session.replica?.at.version ?? 0n));
  }
  return sessions;
}

function restoreUnsent(record: OpRecord & { kind: 'unsent' }): Unsent {
  const { counter, text, durability, onConflict, lenient } = record;
  return { counter, patch: patchOf(text), size: utf8(text).length, durability, onConflict, lenient };
}

function restoreOp(record: Exclude<OpRecord, { kind: 'unsent' }>, have: bigint): Op {
  const { counter } = record;
  switch (record.kind) {
    case 'given-up':
      return newOp(counter, { kind: 'given-up' }, true);
    case 'create': {
      const { text, conflict, devices } = record;
      return newOp(
        counter,
        { kind: 'create', state: parseJson(text), text: utf8(text), conflict, devices },
        true,
      );
    }
    case 'update': {
      const { text, base, durability, onConflict, lenient, after, applied, contained } = record;
      const op = newOp(
        counter,
        {
          kind: 'update',
          patch: patchOf(text),
          text: utf8(text),
          touches: new Touches(record.touches),
          base,
          durability,
          onConflict,
          lenient,
          after: after[0],
          awaits: after.slice(1),
          named: undefined,
        },
        true,
      );
      // The document that was written down may be an older one: then the server is asked again.
      if (applied !== undefined && contained && applied <= have) {
        op.progress = 'contained';
        op.version = applied;
      }
      return op;
    }
  }
}

const patchOf = (text: string): Patch => freeze(checkPatch(JSON.parse(text)));
