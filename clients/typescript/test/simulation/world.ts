// Many clients and one server under one seed: links that delay and break at any byte, a server that crashes and restarts,
// clients that die with what they have written down. Brings everything to rest and looks at all of it.

import { expect } from 'vitest';
import { Decoder } from '../../src/codec/frame.ts';
import { decode, encode } from '../../src/codec/message.ts';
import type { Answer, Host, Step } from './host.ts';
import { type Mistake, Peer } from './peer.ts';
import { Random } from './random.ts';

const CLIENTS = 5;
const SESSIONS = ['alpha', 'beta'] as const;
/** Each lets 5 ms pass. */
const MOST_TURNS_TO_REST = 2_000;

export class World {
  readonly seen = new Set<string>();
  readonly #host: Host;
  readonly #random: Random;
  readonly #peers: Peer[] = [];
  readonly #mistake: Mistake | undefined;
  #now = 0;
  #links = 0;
  /** What the next line says. */
  #step: Step = {};
  #up: [string, string][] = [];
  #isDraining = false;
  #isResting = false;
  #crashes = 0;
  readonly #sent = new Set<string>();

  constructor(host: Host, seed: number, mistake?: Mistake) {
    this.#host = host;
    this.#random = new Random(seed);
    this.#mistake = mistake;
    this.#step.seed = seed;
  }

  async run(steps: number): Promise<void> {
    this.#now = (await this.#exchange()).now;
    for (let name = 0; name < CLIENTS; name++) this.#peers.push(new Peer(name, this.#random, this.#now));
    const log = Object.fromEntries(this.#peers.map(({ name }) => [name, []]));
    const state = { log, all: [], array: [0, 1, 2, 3], k: {}, big: '' };
    for (const session of SESSIONS) {
      const policy = this.#random.pick(['LastWriterWins', 'Merge', 'Reject'] as const);
      this.#peers[0]?.create(session, state as never, policy);
    }
    await this.#rest(peer => peer.name > 0);
    for (const peer of this.#peers) for (const session of SESSIONS) peer.subscribe(session, this.#now);
    for (let step = 0; step < steps; step++) await this.#something();
    await this.#rest(() => false);
    await this.#check();
  }

  async #something(): Promise<void> {
    const random = this.#random;
    const peer = random.pick(this.#peers);
    const dice = random.below(1_000);
    if (dice < 500) peer.edit(random.pick(SESSIONS));
    else if (dice < 530) this.#cut(peer);
    else if (dice < 545) peer.asleepUntil = this.#now + 5 + random.below(400);
    else if (dice < 560) await this.#die(peer);
    else if (dice < 563) this.#crash();
    else if (dice < 565) await this.#restart();
    await this.#turn();
  }

  #cut({ link }: Peer): void {
    // The client notices when it has read what still came.
    if (link) this.#step.cut = [...(this.#step.cut ?? []), link];
  }

  /** In the middle of an edit, which is the worst moment. */
  async #die(peer: Peer): Promise<void> {
    if (!peer.persists) return;
    peer.edit(this.#random.pick(SESSIONS));
    this.#pump(peer);
    await this.#turn();
    this.#drop(peer);
    peer.connectAt = undefined;
    peer.die(this.#now);
  }

  #crash(): void {
    this.seen.add('crashed');
    this.#crashes++;
    this.#step.crash = true;
  }

  /** Everybody is told, nobody loses anything. */
  async #restart(): Promise<void> {
    this.seen.add('restarted');
    this.#step.drain = true;
    this.#isDraining = true;
    for (let turn = 0; ; turn++) {
      const { over } = await this.#turn(true);
      if (over) break;
      if (turn > MOST_TURNS_TO_REST) throw new Error("connections outlive their server's end");
    }
    this.#isDraining = false;
    this.#step.restart = true;
  }

  /** A little time passes. */
  async #turn(settle = this.#isResting): Promise<Answer> {
    const random = this.#random;
    for (const peer of this.#peers) this.#pump(peer);
    this.#step.advance = settle ? 5 : random.below(4);
    this.#step.settle = settle;
    this.#step.turns = settle ? 0 : random.below(8);
    const awake = this.#peers.filter(
      peer => peer.link && peer.asleepUntil <= this.#now && (settle || random.once(2)),
    );
    const links = awake.map(peer => peer.link as string);
    this.#step.take = links.map(link => [link, settle ? 1 << 30 : 1 + random.below(4_000)]);
    const answer = await this.#exchange();
    this.#now = answer.now;
    for (const [i, peer] of awake.entries()) {
      const taken = answer.taken[i];
      if (taken && peer.link === links[i]) this.#receive(peer, taken);
    }
    return answer;
  }

  #receive(peer: Peer, { bytes, end, code }: Answer['taken'][number]): void {
    const chunk = new Uint8Array(Buffer.from(bytes, 'hex'));
    const at = this.#random.below(chunk.length + 1);
    for (const part of [chunk.subarray(0, at), chunk.subarray(at)]) {
      if (part.length) peer.core.handleBytes(this.#now, part.slice());
    }
    this.#obey(peer);
    if (!end || !peer.link) return;
    this.#drop(peer);
    peer.core.handleDisconnected(
      this.#now,
      this.#random.once(2) && code ? code : undefined,
      'the link ended',
    );
  }

  #pump(peer: Peer): void {
    if (peer.asleepUntil > this.#now) return;
    const { core } = peer;
    if ((core.timeout ?? Number.POSITIVE_INFINITY) <= this.#now) core.handleTimeout(this.#now);
    this.#obey(peer);
    if (this.#isResting || this.#random.once(3)) peer.write(this.#isResting || this.#random.once(2));
    if (peer.connectAt !== undefined && peer.connectAt <= this.#now) this.#connect(peer);
    while (peer.link && (this.#isResting || !this.#random.once(6))) {
      const frame = core.transmit(this.#now);
      if (!frame) break;
      this.#up.push([peer.link, Buffer.from(this.#mistaken(peer, frame)).toString('hex')]);
    }
    this.#obey(peer);
  }

  /** What a client sends that breaks a rule on purpose. */
  #mistaken(peer: Peer, frame: Uint8Array): Uint8Array {
    if (this.#mistake !== 'resends under a new counter') return frame;
    const decoder = new Decoder(8 << 20);
    decoder.push(frame);
    const message = decode(decoder.next() as Uint8Array);
    if (message?.type !== 'Update') return frame;
    const op = `${peer.name} ${message.session} ${message.counter}`;
    if (!this.#sent.has(op)) {
      this.#sent.add(op);
      return frame;
    }
    return encode({ ...message, counter: message.counter + (1n << 20n) });
  }

  #connect(peer: Peer): void {
    peer.connectAt = undefined;
    if (this.#isDraining || (!this.#isResting && this.#random.once(8))) {
      return peer.core.handleDisconnected(this.#now, undefined, 'refused');
    }
    peer.link = `${++this.#links}`;
    const room = this.#isResting ? 64 << 10 : this.#random.once(2) ? 64 + this.#random.below(1_000) : 20_000;
    this.#step.open = [...(this.#step.open ?? []), [peer.link, room]];
    peer.core.handleConnected(this.#now);
  }

  #obey(peer: Peer): void {
    peer.take(this.#mistake);
    for (const command of peer.core.commands.splice(0)) {
      if (command.type === 'connect') {
        peer.connectAt = this.#now + this.#random.below(20);
      } else {
        if (peer.link && this.#random.once(2))
          this.#up.push([peer.link, Buffer.from(command.last).toString('hex')]);
        this.#drop(peer);
      }
    }
    for (const kind of peer.seen) this.seen.add(kind);
  }

  #drop(peer: Peer): void {
    if (peer.link) this.#step.gone = [...(this.#step.gone ?? []), peer.link];
    peer.link = undefined;
  }

  #exchange(): Promise<Answer> {
    const step = { ...this.#step, up: this.#up };
    this.#step = {};
    this.#up = [];
    return this.#host.step(step);
  }

  /** Nothing more goes wrong: everybody gets on until nothing is open. */
  async #rest(isIdle: (peer: Peer) => boolean): Promise<void> {
    this.#isResting = true;
    for (const peer of this.#peers) peer.asleepUntil = 0;
    // A large document fills a link for several turns, in which nobody else has anything to do.
    let quiet = 0;
    for (let turn = 0; ; turn++) {
      const { idle, taken } = await this.#turn();
      quiet = idle && taken.every(({ bytes }) => bytes === '') ? quiet + 1 : 0;
      if (quiet >= 3 && this.#peers.every(peer => isIdle(peer) || peer.isAtRest)) break;
      if (turn > MOST_TURNS_TO_REST)
        throw new Error(`no rest: ${this.#peers.filter(peer => !peer.isAtRest).map(peer => peer.summary)}`);
    }
    this.#isResting = false;
  }

  async #check(): Promise<void> {
    this.#step.documents = [...SESSIONS];
    const { documents } = await this.#exchange();
    for (const [i, session] of SESSIONS.entries()) {
      const document = documents[i];
      if (!document) throw new Error(`${session} is not there`);
      expect(document.stored, `${session} in the store`).toEqual(document.live);
      const { log } = document.live as { log: Record<string, number[]> };
      for (const peer of this.#peers) {
        const who = `client ${peer.name} in ${session}`;
        const state = peer.core.sessions.get(session);
        expect(state?.document, `${who}: its optimistic document`).toEqual(document.live);
        expect(Number(state?.replica?.at.version), `${who}: its version`).toBe(document.version);
        const marks = log[peer.name] ?? [];
        expect(new Set(marks).size, `${who}: a mark is there twice: ${marks}`).toBe(marks.length);
        const told = new Set<number>();
        for (const [counter, made] of peer.known.get(session)?.made ?? []) {
          if (!made.mark) continue;
          const isThere = marks.includes(made.mark);
          if (isThere) told.add(made.mark);
          const what = `${who}: update ${counter} (${made.mark}, ${made.durability}) is ${made.fate}`;
          if (made.fate === 'open') expect.unreachable(`${what} at the end`);
          // What is forgotten when it is accepted may be lost in a crash.
          const mayBeLost = made.durability === 'Accepted' && this.#crashes > 0;
          if (made.fate === 'refused') expect(isThere, `${what}, and there`).toBe(false);
          else if (!mayBeLost) expect(isThere, `${what}, and not there`).toBe(true);
        }
        // What was never written down was never sent.
        expect([...told].sort(), `${who}: marks of updates that it does not know`).toEqual([...marks].sort());
      }
    }
  }
}
