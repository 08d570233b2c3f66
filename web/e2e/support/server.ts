// The real program, on a data folder of its own. Found by SYNCBRIDGE_BIN; nothing here builds it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Milliseconds that a start may take on a machine that does other things too. */
const PATIENCE = 30_000;

/** A running server. */
export class Server {
  private child: ChildProcess | undefined;
  private log = '';

  private constructor(
    private readonly folder: string,
    private readonly port: number,
    private readonly admin: number,
    private readonly more: readonly string[],
  ) {}

  /** Starts one, with these settings (`limits.enabled=false`) beside the usual ones. */
  static async start(...settings: string[]): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), 'syncbridge-web-'));
    const [port, admin] = [await freePort(), await freePort()];
    const server = new Server(
      folder,
      port,
      admin,
      settings.flatMap(setting => ['--set', setting]),
    );
    await server.run();
    return server;
  }

  /** Where the pages are. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Where the console is. */
  get adminUrl(): string {
    return `http://127.0.0.1:${this.admin}`;
  }

  /** Kills it, as a power cut would, and starts it again on the same data. */
  async killed(between: () => Promise<void>): Promise<void> {
    await this.end('SIGKILL');
    await between();
    await this.run();
  }

  /** Stops it and forgets its data. */
  async stop(): Promise<void> {
    await this.end('SIGTERM');
    await rm(this.folder, { recursive: true, force: true });
  }

  /** A request of REST that has to succeed. */
  async call<Answer>(method: string, path: string, token?: string, body?: unknown): Promise<Answer> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as Answer;
  }

  private async run(): Promise<void> {
    const program = process.env.SYNCBRIDGE_BIN;
    if (program === undefined)
      throw new Error('SYNCBRIDGE_BIN must name the server: `cargo build`, then target/debug/syncbridge');
    const at = (port: number) => `127.0.0.1:${port}`;
    const child = spawn(
      program,
      ['serve', '--data', this.folder, '--listen', at(this.port), '--admin', at(this.admin), ...this.more],
      // Without what is said here to the tests: the server takes SYNCBRIDGE_… for its settings.
      { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH } },
    );
    this.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', bytes => {
        this.log = (this.log + String(bytes)).slice(-20_000);
      });
    }
    const began = Date.now();
    for (;;) {
      if (child.exitCode !== null) throw new Error(`the server ended at once:\n${this.log}`);
      try {
        if ((await fetch(`http://${at(this.admin)}/readyz`)).ok) return;
      } catch {
        // Nobody listens yet.
      }
      if (Date.now() - began > PATIENCE) throw new Error(`the server did not start:\n${this.log}`);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }
}

/** A port that nobody has, of those that the kernel gives to nobody by itself. */
async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const probe = createServer();
    const free = await new Promise<boolean>(resolve => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => resolve(true));
    });
    await new Promise(resolve => probe.close(resolve));
    if (free) return port;
  }
  throw new Error('no free port');
}
