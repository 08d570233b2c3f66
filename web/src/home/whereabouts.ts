// Who is where: which note a device's caret stands in, and what the device is called. The protocol has no events that are not kept, so this is a session
// of its own beside the list's (`ID~where`), and the list's document and its versions hold nothing but the list. Written
// at most every GAP, and not at all while the caret stands still.
import { type Attached, type Client, ServerError, type Session } from '@syncbridge/client';
import { escaped } from './pointer.ts';

/** Where a caret stands, or a selection. */
export interface Place {
  readonly note: string;
  /** UTF-16 units from the text's beginning. */
  readonly from: number;
  readonly to: number;
}

/** A device's caret. */
export interface Cursor extends Place {
  readonly device: string;
}

/** Carets, by note. */
export type Cursors = ReadonlyMap<string, readonly Cursor[]>;

/** What the session holds: places by device. Anybody who may write it may write anything into it. */
type Places = Record<string, unknown>;

/** Milliseconds between two places that are told: 12 a second look live, and cost the disk little. */
const GAP = 80;
/** Devices that are shown. */
const DEVICES = 50;
/** Devices that are remembered when they are not here: their entries are removed by who comes next. */
const REMEMBERED = 100;

/** Shares this device's place in a session, and knows those of the others. */
export class Whereabouts {
  private session: Session<Places> | undefined;
  private told: string | undefined;
  private place: Place | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private drawn: { places: unknown; here: unknown; cursors: Cursors } = {
    places: undefined,
    here: undefined,
    cursors: new Map(),
  };
  private readonly ends = new AbortController();

  constructor(
    private readonly client: Client,
    private readonly list: string,
    private readonly device: string,
    /** What this device is called. */
    private readonly name: string,
    private readonly changed: () => void,
  ) {}

  /** Begins. Without the right to (somebody else's session) there are no carets, and nothing else is missing. */
  async begin(): Promise<void> {
    const sessionId = `${this.list}~where`;
    const { signal } = this.ends;
    try {
      await this.client.request('POST', '/sessions', { body: { sessionId, state: {} }, signal });
    } catch (error) {
      // Somebody has made it already.
      if (!(error instanceof ServerError && error.code === 'already_exists')) return;
    }
    if (signal.aborted) return;
    this.session = this.client.session<Places>(sessionId);
    this.session.subscribe(this.changed, { signal });
    try {
      await this.session.ready({ signal });
      this.tell();
      this.tidy();
    } catch {
      this.session = undefined;
    }
  }

  /** The carets of the devices that are here, by note. The same object as long as nothing has moved. */
  cursors(here: readonly Attached[]): Cursors {
    const places = this.session?.state;
    if (places === this.drawn.places && here === this.drawn.here) return this.drawn.cursors;
    const cursors = new Map<string, Cursor[]>();
    for (const { device } of here.slice(0, DEVICES)) {
      const place = device === this.device ? undefined : read(entry(places, device));
      if (place === undefined) continue;
      const beside = cursors.get(place.note) ?? [];
      beside.push({ ...place, device });
      cursors.set(place.note, beside);
    }
    this.drawn = { places, here, cursors };
    return cursors;
  }

  /** What a device says that it is called. */
  nameOf(device: string): string | undefined {
    const name = entry(this.session?.state, device)?.name;
    return typeof name === 'string' && name !== '' ? name.slice(0, 100) : undefined;
  }

  /** This device's caret is here now; `undefined`: in no note. */
  stand(place: Place | undefined): void {
    this.place = place;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.tell();
    }, GAP);
  }

  /** Ends; this device is nowhere any more. */
  end(): void {
    this.place = undefined;
    this.tell();
    clearTimeout(this.timer);
    this.ends.abort();
    this.session?.leave();
  }

  private tell(): void {
    const { session, place, name } = this;
    if (session?.state === undefined) return;
    const value = { name, ...place };
    const text = JSON.stringify(value);
    if (text === this.told) return;
    try {
      const path = `/${escaped(this.device)}`;
      // Refused (a viewer may not write): this device is seen nowhere.
      session
        .patch([{ op: 'add', path, value }], { durability: 'accepted', after: 'nothing' })
        .accepted.catch(() => {});
      this.told = text;
    } catch {
      // Too much waits already: the next place is told again.
    }
  }

  /** Removes the entries of devices that are not here, when there are many. */
  private tidy(): void {
    const { session } = this;
    const state = dictionary(session?.state);
    if (session === undefined || state === undefined) return;
    const here = new Set(session.presence.devices.map(({ device }) => device));
    const gone = Object.keys(state).filter(device => device !== this.device && !here.has(device));
    if (gone.length <= REMEMBERED) return;
    const operations = gone
      .slice(0, 500)
      .map(device => ({ op: 'remove' as const, path: `/${escaped(device)}` }));
    try {
      // Another one tidies up at the same moment: then one of both is refused.
      session.patch(operations, { durability: 'accepted', after: 'nothing' }).accepted.catch(() => {});
    } catch {
      // Not now.
    }
  }
}

type Dictionary = Readonly<Record<string, unknown>>;

function dictionary(value: unknown): Dictionary | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Dictionary)
    : undefined;
}

function entry(places: unknown, device: string): Dictionary | undefined {
  const all = dictionary(places);
  return all !== undefined && Object.hasOwn(all, device) ? dictionary(all[device]) : undefined;
}

function read(entry: Dictionary | undefined): Place | undefined {
  if (entry === undefined) return undefined;
  const { note, from, to } = entry;
  const fit = typeof note === 'string' && Number.isInteger(from) && Number.isInteger(to);
  return fit ? { note, from: Number(from), to: Number(to) } : undefined;
}
