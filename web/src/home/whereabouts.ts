// Who is where: which note a device's caret stands in. The protocol has no events that are not kept, so this is a session
// of its own beside the list's (`ID~where`), and the list's document and its versions hold nothing but the list. Written
// at most every GAP, and not at all while the caret stands still.
import { type Attached, type Client, ServerError, type Session } from '@syncbridge/client';
import { escape } from './pointer.ts';

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

/** What the session holds: places by device. Anybody who may write it may write anything into it. */
type Places = Record<string, unknown>;

/** Milliseconds between two places that are told: 12 a second look live, and cost the disk little. */
const GAP = 80;
/** Devices that are shown. */
const DEVICES = 50;

/** Shares this device's place in a session, and knows those of the others. */
export class Whereabouts {
  private session: Session<Places> | undefined;
  private told: string | undefined;
  private place: Place | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly ends = new AbortController();

  constructor(
    private readonly client: Client,
    private readonly list: string,
    private readonly device: string,
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
    } catch {
      this.session = undefined;
    }
  }

  /** The carets of the devices that are here, by note. */
  cursors(here: readonly Attached[]): ReadonlyMap<string, readonly Cursor[]> {
    const found = new Map<string, Cursor[]>();
    const places = this.session?.state;
    if (typeof places !== 'object' || places === null) return found;
    for (const { device } of here.slice(0, DEVICES)) {
      const place = device === this.device ? undefined : read(places[device]);
      if (place === undefined) continue;
      const cursors = found.get(place.note) ?? [];
      cursors.push({ ...place, device });
      found.set(place.note, cursors);
    }
    return found;
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
    const value = this.place === undefined ? undefined : JSON.stringify(this.place);
    if (value === this.told || this.session?.state === undefined) return;
    const path = `/${escape(this.device)}`;
    const { place } = this;
    try {
      this.session.patch(
        [place === undefined ? { op: 'add', path, value: null } : { op: 'add', path, value: { ...place } }],
        { durability: 'accepted', after: 'nothing', lenient: true },
      ).accepted.catch(() => {});
      this.told = value;
    } catch {
      // Too much waits already: the next place is told again.
    }
  }
}

function read(value: unknown): Place | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { note, from, to } = value as Partial<Place>;
  const fit = typeof note === 'string' && Number.isInteger(from) && Number.isInteger(to);
  return fit ? { note, from: Number(from), to: Number(to) } : undefined;
}
