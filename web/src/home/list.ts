// The notes in a session's document, and the changes that people make to them. A document is whatever somebody wrote: any
// value in any place is read as text, and nothing here throws for it.
import type { DeepReadonly, Json } from '@syncbridge/client';

/** A note, as this page writes it. */
export interface Note {
  text: string;
  done: boolean;
  /** Notes stand in the order of this number, and of their ids when it is the same. */
  order: number;
}

/** A list, as this page writes it. */
export interface List {
  title: string;
  notes: Record<string, Note>;
}

/** A note, as it is drawn. The same object as long as the note is the same. */
export interface Row {
  readonly id: string;
  readonly text: string;
  readonly done: boolean;
  readonly order: number;
}

/** A document, as it is drawn. */
export interface Page {
  readonly title: string;
  readonly rows: readonly Row[];
  /** Notes that are not drawn, because there are too many. */
  readonly left: number;
  /** What else is in the document. */
  readonly rest: readonly (readonly [string, unknown])[];
  /** Whether notes can be added: the document is an object, and so are its notes. */
  readonly writable: boolean;
}

/** Notes that are drawn at most: a row costs about 0.1 ms to lay out, so that this many fit into a frame's fair share. */
export const ROWS = 300;
/** Characters of what else is in the document that are shown. */
const REST = 4_000;

const rows = new WeakMap<object, Row>();

type Dictionary = Readonly<Record<string, unknown>>;

function dictionary(value: unknown): Dictionary | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Dictionary)
    : undefined;
}

/** Any value, as text. */
export function asText(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined ? '' : (JSON.stringify(value) ?? '');
}

function row(id: string, value: unknown): Row {
  const note = dictionary(value);
  const known = note && rows.get(note);
  if (known !== undefined && known.id === id) return known;
  const order = typeof note?.order === 'number' ? note.order : 0;
  const made: Row = { id, text: asText(note ? note.text : value), done: note?.done === true, order };
  if (note) rows.set(note, made);
  return made;
}

/** Reads a document. */
export function read(document: unknown): Page {
  const top = dictionary(document);
  const notes = dictionary(top?.notes);
  const all = notes ? Object.keys(notes).map(id => row(id, notes[id])) : [];
  all.sort((one, other) => one.order - other.order || (one.id < other.id ? -1 : 1));
  const shape = (key: string) => key === 'title' || (key === 'notes' && notes !== undefined);
  const rest = top
    ? Object.keys(top)
        .filter(key => !shape(key))
        .map(key => [key, top[key]] as const)
    : document === undefined || document === null
      ? []
      : [['', document] as const];
  return {
    title: top?.title === undefined ? '' : asText(top.title),
    rows: all.slice(0, ROWS),
    left: Math.max(0, all.length - ROWS),
    rest,
    writable: (top !== undefined || document === null) && (notes !== undefined || top?.notes === undefined),
  };
}

/** Values as JSON for people, cut where it gets long. */
export function shortJson(value: unknown): string {
  const text = JSON.stringify(value, null, 2) ?? '';
  return text.length > REST ? `${text.slice(0, REST)}\n… ${text.length - REST} more characters` : text;
}

/** A document to begin with. */
export function begin(): List & { [key: string]: Json } {
  return { title: 'Notes', notes: {} } as List & { [key: string]: Json };
}

/** A change of a list: what `Session.update` takes. Each leaves alone what is no list. */
export type Recipe = (list: List) => void;

function noteOf(list: List, id: string): Note | undefined {
  return dictionary(list.notes[id]) as Note | undefined;
}

/** Adds a note at the end. */
export function add(id: string, text: string, page: Page): Recipe {
  // Of all notes that are drawn; when some are not, later ones have ids that sort after it in the same place.
  const last = page.rows.at(-1)?.order ?? 0;
  return list => {
    list.notes ??= {};
    list.notes[id] = { text, done: false, order: Math.floor(last) + 1 };
  };
}

/** Writes a note's text. */
export function write(id: string, text: string): Recipe {
  return list => {
    const note = noteOf(list, id);
    if (note) note.text = text;
  };
}

/** Checks a note off, or not. */
export function check(id: string, done: boolean): Recipe {
  return list => {
    const note = noteOf(list, id);
    if (note) note.done = done;
  };
}

/** Removes a note. */
export function remove(id: string): Recipe {
  return list => {
    delete list.notes[id];
  };
}

/** Moves a note one place up or down; `undefined` when there is no such place. */
export function move(id: string, down: boolean, page: Page): Recipe | undefined {
  const at = page.rows.findIndex(row => row.id === id);
  const to = at + (down ? 1 : -1);
  const over = page.rows[to];
  if (at < 0 || over === undefined) return undefined;
  const beyond = page.rows[to + (down ? 1 : -1)];
  const order = beyond === undefined ? over.order + (down ? 1 : -1) : (over.order + beyond.order) / 2;
  if (order !== over.order && order !== beyond?.order) {
    return list => {
      const note = noteOf(list, id);
      if (note) note.order = order;
    };
  }
  // Two were added at the same moment, or there is no number left between them: all are numbered anew.
  const ids = page.rows.map(row => row.id);
  ids.splice(to, 0, ...ids.splice(at, 1));
  return list => {
    ids.forEach((id, index) => {
      const note = noteOf(list, id);
      if (note && note.order !== index + 1) note.order = index + 1;
    });
  };
}

/** Renames the list. */
export function rename(title: string): Recipe {
  return list => {
    list.title = title;
  };
}

/** A document of a session, as the client gives it out. */
export type Document = DeepReadonly<List>;
