// What happened a moment ago: which device changed which note, and how long that took. Gathers what comes between two
// frames; bounded, however much comes.
import type { Change, Patch } from '@syncbridge/client';
import { unescaped } from './pointer.ts';

/** A change of a note, as its row shows it: the first of those that are drawn as one. */
export interface Highlight {
  /** Another one for changes that are apart, so that the animation begins anew: not for each letter that somebody types. */
  readonly id: number;
  /** When it came, by this machine's clock. */
  readonly at: number;
  readonly device: string;
  readonly own: boolean;
  /**
   * Milliseconds. Of an own change: until the server had taken it. Of another's: from there to here, by the server's
   * clock.
   */
  readonly took: number;
}

/** A line of the activity. */
export interface Entry extends Highlight {
  readonly what: 'added' | 'wrote' | 'checked' | 'reopened' | 'removed' | 'renamed' | 'moved' | 'changed';
  /** The note; `undefined`: the list. */
  readonly note: string | undefined;
  /** How many changes of the same kind it stands for. */
  readonly times: number;
}

/** Milliseconds: changes of one note by one device that are nearer than that are drawn as one. */
const APART = 500;
/** Lines that are kept. */
const ENTRIES = 40;
/** Highlights that are kept: more notes than that are on no screen. */
const HIGHLIGHTS = 500;
/** Operations of one change that are looked at. */
const OPERATIONS = 64;

/** The latest changes. */
export class Changes {
  private readonly highlights = new Map<string, Highlight>();
  private entries: Entry[] = [];
  private last = 0;

  /** The latest change of a note. */
  highlight(note: string): Highlight | undefined {
    return this.highlights.get(note);
  }

  /** The latest first. A new array when something was added. */
  get log(): readonly Entry[] {
    return this.entries;
  }

  /** Another device's change. `now`: the server's clock. */
  take(change: Extract<Change, { kind: 'delta' }>, now: number): void {
    const took = change.time === 0 ? 0 : Math.max(0, now - change.time);
    this.add(change.operations, { device: change.device, own: false, took });
  }

  /** An own change that the server has taken. */
  taken(operations: Patch, device: string, took: number): void {
    this.add(operations, { device, own: true, took });
  }

  private add(operations: Patch, by: { device: string; own: boolean; took: number }): void {
    const seen = new Set<string>();
    for (const operation of operations.slice(0, OPERATIONS)) {
      const what = kind(operation);
      if (what === undefined || seen.has(`${what.what} ${what.note}`)) continue;
      seen.add(`${what.what} ${what.note}`);
      const now = Date.now();
      const highlight = { id: ++this.last, at: now, ...by };
      if (what.note !== undefined) {
        const before = this.highlights.get(what.note);
        const goesOn = before !== undefined && before.device === by.device && now - before.at < APART;
        // The latest stands last, so that the oldest is the first to go.
        this.highlights.delete(what.note);
        this.highlights.set(what.note, goesOn ? before : highlight);
      }
      this.log_(highlight, what);
    }
    for (const oldest of this.highlights.keys()) {
      if (this.highlights.size <= HIGHLIGHTS) break;
      this.highlights.delete(oldest);
    }
  }

  private log_(highlight: Highlight, { what, note }: What): void {
    const entry = { ...highlight, what, note };
    const [latest, ...earlier] = this.entries;
    const same = latest?.device === entry.device && latest.what === what && latest.note === note;
    // Somebody types: one line, not one for each letter.
    this.entries = same
      ? [{ ...entry, id: latest.id, times: latest.times + 1 }, ...earlier]
      : [{ ...entry, times: 1 }, ...this.entries.slice(0, ENTRIES - 1)];
  }
}

interface What {
  what: Entry['what'];
  note: string | undefined;
}

/** What an operation does to a list, in a person's terms. */
function kind(operation: Patch[number]): What | undefined {
  if (operation.op === 'test') return undefined;
  const [, top, id, field] = operation.path.split('/');
  if (top === 'title' && id === undefined) return { what: 'renamed', note: undefined };
  if (top !== 'notes' || id === undefined) return { what: 'changed', note: undefined };
  const note = unescaped(id);
  if (field === undefined) {
    return {
      what: operation.op === 'remove' ? 'removed' : operation.op === 'add' ? 'added' : 'changed',
      note,
    };
  }
  if (field === 'done')
    return { what: 'value' in operation && operation.value === true ? 'checked' : 'reopened', note };
  return { what: field === 'text' ? 'wrote' : field === 'order' ? 'moved' : 'changed', note };
}
