// A session on the screen: what the pages of /home know, gathered from the client, and what they can do. Told to them once
// an animation frame, however much comes. Draws nothing.
import {
  type Attached,
  type Client,
  connect,
  type DeepReadonly,
  type Offer,
  ServerError,
  type Session,
  type Status,
  type TakenOver,
  type Update,
} from '@syncbridge/client';
import { type AppState, canonical, show } from '../app-state.ts';
import { deviceName, platformName } from '../device.ts';
import { chooseSession, chosenSession, keep, type Login } from '../login.ts';
import { Changes, type Entry, type Highlight } from './changes.ts';
import { begin, type List, type Page, type Recipe, type Row, read } from './list.ts';
import { type Names, settled } from './names.ts';
import { type Cursors, type Place, Whereabouts } from './whereabouts.ts';

/** What is drawn: a new object for each frame in which something is another. */
export interface View {
  readonly sessionId: string | undefined;
  readonly page: Page;
  readonly status: Status;
  /** The newest state is on the screen, and changes come as they are made. */
  readonly live: boolean;
  readonly version: number;
  readonly pending: number;
  readonly unsent: number;
  readonly devices: readonly Attached[];
  readonly activeDevice: string | undefined;
  /** Only the active device may write, and this is another. */
  readonly watching: boolean;
  readonly policy: DevicePolicy;
  readonly log: Log;
  readonly cursors: Cursors;
  /** What the devices are called. */
  readonly names: Names;
  /** Somebody wants the session on another device, and this one is asked. */
  readonly asked: Asked | undefined;
  /** The device that the session has just moved to. */
  readonly movedTo: Moved | undefined;
  /** Something went wrong, in words for a person. */
  readonly trouble: string | undefined;
}

/** What happened last, and the notes as they were then. The same object until another is drawn. */
export interface Log {
  readonly entries: readonly Entry[];
  readonly rows: readonly Row[];
}

export type DevicePolicy = 'many' | 'exclusive' | 'ask';

export interface Asked {
  readonly handoff: string;
  readonly device: string;
}

/** A handoff that was completed: another object for each. */
export interface Moved {
  readonly device: string;
}

/** A device of the user. */
export interface Device {
  readonly deviceId: string;
  readonly name: string;
  readonly platform: string;
  readonly lastSeenAt: string;
}

/** A session of the user. */
export interface Listed {
  readonly sessionId: string;
  readonly role: string;
}

/** What the server says to a login that has ended. */
const SIGNED_OUT: ReadonlySet<string> = new Set(['unauthenticated', 'token_expired', 'invalid_credentials']);

/** Milliseconds between two pictures of the log. */
const LOG = 200;
/** The end of the session that carets are shared in. */
const WHERE = '~where';

const NO_CURSORS: Cursors = new Map();
const NOBODY: readonly Attached[] = [];

/** A session on the screen. */
export class Room {
  readonly device: string;
  private session: Session<List> | undefined;
  private whereabouts: Whereabouts | undefined;
  private readonly changes = new Changes();
  private policy: DevicePolicy = 'many';
  private asked: Asked | undefined;
  private movedTo: Moved | undefined;
  private trouble: string | undefined;
  private shown: Log & { at: number } = { entries: [], rows: [], at: 0 };
  private later: ReturnType<typeof setTimeout> | undefined;
  private handing = false;
  /** By the user's list of devices. */
  private registered: Names = new Map();
  private names: Names = new Map();
  private frame: number | undefined;
  private page: { of: unknown; read: Page } = { of: undefined, read: read(undefined) };
  private ends = new AbortController();
  private readonly listeners = new Set<(view: View) => void>();

  /** Connects. `ended` is called when the login has ended: somebody has to sign in again. */
  static async enter(login: Login, taken: TakenOver | undefined, ended: () => void): Promise<Room> {
    const client = await connect({ tokens: login.tokens, device: login.device, agent: 'syncbridge-web' });
    return new Room(client, login, taken, ended);
  }

  private constructor(
    private readonly client: Client,
    readonly login: Login,
    private readonly taken: TakenOver | undefined,
    private readonly ended: () => void,
  ) {
    this.device = login.device;
    this.client.on('tokens', tokens => keep({ ...tokens, user: tokens.user ?? login.user }, login.device));
    this.client.on('status', status => {
      if (status.phase === 'stopped') this.stopped(status);
      this.changed();
    });
    show(() => this.state());
    this.begin(taken?.sessionId ?? chosenSession()).catch((error: unknown) => this.fail(error));
    this.introduce().catch(() => {
      // A name is for people to recognise; without one, the id is shown.
    });
  }

  /** Calls the listener once a frame in which something has changed. */
  subscribe(listener: (view: View) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Whether there is a document to be seen. */
  get isOpen(): boolean {
    return this.document() !== undefined;
  }

  /** Waits until there is one. */
  opened(): Promise<void> {
    return new Promise(resolve => {
      const look = () => {
        if (!this.isOpen) return;
        stop();
        resolve();
      };
      const stop = this.subscribe(look);
      look();
    });
  }

  /** What is to be drawn. */
  view(): View {
    const { session, client } = this;
    const { devices, activeDevice } = session?.presence ?? { devices: NOBODY, activeDevice: undefined };
    const document = this.document();
    if (document !== this.page.of) this.page = { of: document, read: read(document) };
    return {
      sessionId: session?.id,
      page: this.page.read,
      status: client.status,
      live: session?.live ?? false,
      version: session?.version ?? 0,
      pending: session?.pending ?? 0,
      unsent: session?.unsent.length ?? 0,
      devices,
      activeDevice,
      watching: this.policy !== 'many' && activeDevice !== undefined && activeDevice !== this.device,
      policy: this.policy,
      log: this.log(),
      cursors: this.whereabouts?.cursors(devices) ?? NO_CURSORS,
      names: this.naming(devices),
      asked: this.asked,
      movedTo: this.movedTo,
      trouble: this.trouble,
    };
  }

  /** The latest change of a note. */
  highlight(note: string): Highlight | undefined {
    return this.changes.highlight(note);
  }

  /** Changes the list: at once here, at the server as soon as it can be reached. */
  change(recipe: Recipe): void {
    const { session } = this;
    if (session?.state === undefined) return;
    const began = performance.now();
    let update: Update;
    try {
      update = session.update(recipe);
    } catch (error) {
      this.fail(error);
      return;
    }
    if (update.operations.length === 0) return;
    update.accepted.then(
      () => {
        this.changes.taken(update.operations, this.device, performance.now() - began);
        this.changed();
      },
      () => {
        // Told by the client's event `conflict`, or kept as unsent.
      },
    );
  }

  /** This device's caret is here; `undefined`: in no note. */
  stand(place: Place | undefined): void {
    this.whereabouts?.stand(place);
  }

  /** A code for another device. */
  offer(): Promise<Offer> {
    if (this.session === undefined) return Promise.reject(new Error('There is no session yet.'));
    return this.session.handoff.start();
  }

  /** Makes this device the one that writes, and sends what waited for that. */
  async takeOver(): Promise<void> {
    const { session } = this;
    const active = session?.presence.activeDevice;
    if (session === undefined || active === undefined) return;
    try {
      const { token } = await session.handoff.start();
      await session.handoff.complete(token, active);
      for (const { counter } of session.unsent) session.resend(counter);
      this.trouble = undefined;
    } catch (error) {
      this.fail(error);
    }
    this.changed();
  }

  /** Gives up changes that another device's turn kept from being sent. */
  discardUnsent(): void {
    for (const { counter } of this.session?.unsent ?? []) this.session?.discard(counter);
    this.changed();
  }

  /** Says whether the session may go to the device that asks. */
  answer(accept: boolean): void {
    const { asked } = this;
    this.asked = undefined;
    try {
      if (asked !== undefined) this.session?.handoff.answer(asked.handoff, accept);
    } catch (error) {
      this.fail(error);
    }
    this.changed();
  }

  /** Tries again after the server has ended the connection. */
  reconnect(): void {
    this.trouble = undefined;
    this.client.reconnect();
    this.changed();
  }

  /** The words about what went wrong were read. */
  dismiss(): void {
    this.trouble = undefined;
    this.movedTo = undefined;
    this.changed();
  }

  /** A code is presented here: when that ends this login, another takes its place. `false`: it was not taken. */
  handOver(begins: boolean): void {
    this.handing = begins;
    const { phase, error } = this.client.status;
    if (!begins && phase === 'stopped' && error !== undefined) this.stopped(this.client.status);
  }

  /** The user's devices. */
  async devices(): Promise<readonly Device[]> {
    const { body } = await this.client.request<{ items: Device[] }>('GET', '/devices?limit=100');
    this.registered = new Map(
      body.items.filter(({ name }) => name !== '').map(({ deviceId, name }) => [deviceId, name]),
    );
    this.changed();
    return body.items;
  }

  /** Signs another device out. */
  async removeDevice(device: string): Promise<void> {
    await this.client.request('DELETE', `/devices/${encodeURIComponent(device)}`);
  }

  /** The sessions that the user may see. */
  async sessions(): Promise<readonly Listed[]> {
    const { body } = await this.client.request<{ items: Listed[] }>('GET', '/sessions?limit=200');
    return body.items.filter(({ sessionId }) => !sessionId.endsWith(WHERE));
  }

  /** Makes a list and shows it. */
  async make(title: string, devices: DevicePolicy): Promise<void> {
    const body = { state: { ...begin(), title }, policy: { devices } };
    const made = await this.client.request<{ sessionId: string }>('POST', '/sessions', { body });
    await this.open(made.body.sessionId);
  }

  /** Shows another session. */
  async open(chosen: string | undefined): Promise<void> {
    const id = chosen ?? (await this.home());
    chooseSession(id);
    this.leave();
    this.ends = new AbortController();
    const { signal } = this.ends;
    const session = this.client.session<List>(id);
    this.session = session;
    session.subscribe(() => this.changed(), { signal });
    session.onPresence(() => this.changed(), { signal });
    session.onChange(
      change => {
        switch (change.kind) {
          case 'delta':
            if (!change.own) this.changes.take(change, this.serverNow());
            break;
          case 'refused':
            this.trouble = 'Somebody else changed that at the same time. Your change was taken back.';
            break;
          case 'handoff-requested':
            this.asked = { handoff: change.handoff, device: change.device };
            break;
          case 'handoff-completed':
            this.asked = undefined;
            if (change.device !== this.device) this.movedTo = { device: change.device };
            this.devices().catch(() => {});
            break;
          case 'deleted':
            this.trouble = 'This list was deleted.';
            break;
          case 'access-changed':
          case 'reset':
          case 'lagged':
            break;
        }
        this.changed();
      },
      { signal },
    );
    this.whereabouts = new Whereabouts(this.client, id, this.device, this.ownName(), () => this.changed());
    this.changed();
    await session.ready({ signal });
    this.changed();
    await Promise.all([this.whereabouts.begin(), this.learn(id)]);
    this.changed();
  }

  /** Ends everything. */
  async close(): Promise<void> {
    this.leave();
    this.listeners.clear();
    clearTimeout(this.later);
    if (this.frame !== undefined) cancelAnimationFrame(this.frame);
    await this.client.close();
  }

  private leave(): void {
    this.whereabouts?.end();
    this.whereabouts = undefined;
    this.ends.abort();
    this.session?.leave();
    this.session = undefined;
    this.policy = 'many';
  }

  /** The session's document; what a handoff brought, until the connection has brought it too. */
  private document(): DeepReadonly<List> | unknown {
    const { session, taken } = this;
    if (session?.state !== undefined) return session.state;
    return session !== undefined && session.id === taken?.sessionId ? taken.state : undefined;
  }

  private state(): AppState {
    const { session, taken, client } = this;
    const early = session?.state === undefined && session?.id === taken?.sessionId ? taken : undefined;
    return {
      sessionId: session?.id ?? null,
      data: canonical(this.document() ?? null),
      version: early?.version ?? session?.version ?? 0,
      epoch: early?.epoch ?? session?.at?.epoch ?? 0,
      deviceId: this.device,
      activeDeviceId: session?.presence.activeDevice ?? null,
      userId: this.login.user.id,
      connection: client.status.phase,
      transport: client.status.transport ?? null,
      latency: client.status.rtt ?? null,
      pending: session?.pending ?? 0,
    };
  }

  /** Opens the session that this tab showed; the user's own list when that is there no more. */
  private async begin(chosen: string | undefined): Promise<void> {
    try {
      await this.open(chosen);
    } catch (error) {
      if (chosen === undefined || !(error instanceof ServerError && error.code === 'not_found')) throw error;
      await this.open(undefined);
    }
  }

  /** The id of the user's own list, which is made when it does not exist. */
  private async home(): Promise<string> {
    const sessionId = `notes:${this.login.user.id}`;
    try {
      await this.client.request('POST', '/sessions', { body: { sessionId, state: begin() } });
      return sessionId;
    } catch (error) {
      if (!(error instanceof ServerError && error.code === 'already_exists')) throw error;
    }
    // It is there already: ours, unless somebody made one of that name before us.
    const sessions = await this.sessions();
    const found = sessions.find(session => session.sessionId === sessionId) ?? sessions[0];
    if (found !== undefined) return found.sessionId;
    const made = await this.client.request<{ sessionId: string }>('POST', '/sessions', {
      body: { state: begin() },
    });
    return made.body.sessionId;
  }

  /** Which devices may write. */
  private async learn(id: string): Promise<void> {
    const path = `/sessions/${encodeURIComponent(id)}`;
    const { body } = await this.client.request<{ policy: { devices: DevicePolicy } }>('GET', path);
    this.policy = body.policy.devices;
  }

  /** Tells the server what to call this device, unless it has a name. */
  private async introduce(): Promise<void> {
    const devices = await this.devices();
    if (devices.some(({ deviceId, name }) => deviceId === this.device && name !== '')) return;
    const platform = platformName(navigator.userAgent);
    await this.client.request('POST', '/devices', {
      body: { deviceId: this.device, name: deviceName(), platform },
    });
  }

  /** The log, another one at most every `LOG` milliseconds: nobody reads lines that are gone in the next frame. */
  private log(): Log {
    const { shown } = this;
    const now = performance.now();
    if (shown.entries === this.changes.log) return shown;
    if (now - shown.at >= LOG) {
      this.shown = { entries: this.changes.log, rows: this.page.read.rows, at: now };
    } else {
      this.later ??= setTimeout(() => {
        this.later = undefined;
        this.changed();
      }, LOG);
    }
    return this.shown;
  }

  private ownName(): string {
    return this.registered.get(this.device) ?? deviceName();
  }

  /** Names of the devices that are here, and of the user's own that are not. */
  private naming(here: readonly Attached[]): Names {
    const names = new Map(this.registered);
    for (const { device } of here) {
      const name = names.get(device) ?? this.whereabouts?.nameOf(device);
      if (name !== undefined) names.set(device, name);
    }
    names.set(this.device, 'This device');
    this.names = settled(this.names, names);
    return this.names;
  }

  private serverNow(): number {
    return Date.now() + (this.client.status.clockOffset ?? 0);
  }

  private stopped({ error }: Status): void {
    const over = error instanceof ServerError && SIGNED_OUT.has(error.code);
    if (over && !this.handing) this.ended();
    else if (!over) this.fail(error);
  }

  private fail(error: unknown): void {
    if (this.ends.signal.aborted) return;
    this.trouble = error instanceof Error ? error.message : 'Something went wrong.';
    this.changed();
  }

  private changed(): void {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      const view = this.view();
      for (const listener of this.listeners) listener(view);
    });
  }
}
