// What a core is told once, with every bound and every time of the client and its reason. Never a clock, never a source of
// randomness.

/** Bounds. */
export interface Limits {
  /** Updates of one session that may wait, those that are unsent included: an hour offline at two or three a second. */
  queueOps: number;
  /** Bytes of their patches: 10,000 updates of 800 bytes. */
  queueBytes: number;
  /**
   * Updates of one session that are sent and not known durable. The server keeps the last 1,024 answers of an incarnation;
   * what is sent again after a crash must lie inside that window.
   */
  unconfirmedOps: number;
  /** Sessions that one client subscribes to; the server's own default limit of a connection. */
  sessions: number;
  /** Documents that are asked for and not answered. */
  gets: number;
  /** Requests that are not answered: a page asks for a handful. */
  requests: number;
  /** Requests that are sent and not answered: as many as a server answers at once. One more would hold up the updates. */
  requestsUnderWay: number;
  /** Largest frame taken from the server, bytes: its document cap of 4 MiB twice over. */
  maxServerFrame: number;
  /** Largest document taken from the server in parts, bytes. */
  maxDocument: number;
}

/** Times in milliseconds. */
export interface Times {
  /** First pause before reconnecting: a restarting server is not hammered, a person does not notice one lost connection. */
  backoffBase: number;
  /** Longest pause before reconnecting: with 100,000 clients that is 3,300 attempts a second at a server that is away. */
  backoffCap: number;
  /** A connection that lived this long was a good one: the next loss starts from the shortest pause again. */
  stableAfter: number;
  /** For `Welcome`; the server gives `Hello` the same time. */
  handshake: number;
  /** For the answer to a subscription, before the connection is given up as stuck. */
  answer: number;
  /** For any byte after a `Ping` that was sent into silence. */
  pong: number;
}

/** First and longest pause after `busy` without a time of its own, in milliseconds; doubled each round. */
export const BUSY_BASE = 20;
export const BUSY_CAP = 5_000;
/** Largest frame that a server takes before it has said otherwise, bytes. */
export const MAX_CLIENT_FRAME = 1 << 20;
/** What an `Update` takes besides its operations, at most, bytes. */
export const UPDATE_OVERHEAD = 512;
/** Refused updates that are remembered: an application that builds on one does so at once or never. */
export const REFUSED = 256;

/** Who the client is and what its bounds are. */
export interface Config {
  /** The access token; empty under `--open`. */
  token: string;
  device: string;
  /** 128 random bits, drawn when the queue of updates is new, kept as long as it is. No two cores share one. */
  incarnation: bigint;
  agent: string;
  notices: boolean;
  durable: boolean;
  /** Whether updates wait until they are written down before they are sent: `takeWrites`, `handleStored`. */
  persist: boolean;
  limits: Limits;
  times: Times;
}

/** The defaults. */
export const config = (device: string, incarnation: bigint): Config => ({
  token: '',
  device,
  incarnation,
  agent: 'syncbridge-typescript/0.1.0',
  notices: true,
  durable: false,
  persist: false,
  limits: {
    queueOps: 10_000,
    queueBytes: 8 << 20,
    unconfirmedOps: 512,
    sessions: 1_000,
    gets: 1_024,
    requests: 256,
    requestsUnderWay: 16,
    maxServerFrame: 8 << 20,
    maxDocument: 64 << 20,
  },
  times: {
    backoffBase: 100,
    backoffCap: 30_000,
    stableAfter: 5_000,
    handshake: 10_000,
    answer: 30_000,
    pong: 10_000,
  },
});
