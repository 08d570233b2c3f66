// The real server as a process: started on a port that stays its own, killed, started again.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Where cargo puts it, unless SYNCBRIDGE_BIN names another. */
function binary(): string {
  const target =
    process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../../target', import.meta.url));
  const path = process.env.SYNCBRIDGE_BIN ?? `${target}/debug/syncbridge`;
  if (!existsSync(path))
    throw new Error(`there is no ${path}: cargo build -p syncbridge, or set SYNCBRIDGE_BIN`);
  return path;
}

/** A port that nobody has: outside the range from which the kernel gives ports to others. */
async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    const probe = createServer();
    const isFree = await new Promise<boolean>(resolve => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
  throw new Error('no free port between 12,000 and 32,000');
}

export class Server {
  readonly url: string;
  readonly #port: number;
  readonly #arguments: string[];
  readonly #data = mkdtempSync(join(tmpdir(), 'syncbridge-typescript-'));
  #process: ChildProcess | undefined;

  private constructor(port: number, args: string[]) {
    this.#port = port;
    this.#arguments = args;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(...args: string[]): Promise<Server> {
    const server = new Server(await freePort(), args);
    await server.start();
    return server;
  }

  /** Starts it, and waits until it listens. */
  async start(): Promise<void> {
    const listen = ['--listen', `127.0.0.1:${this.#port}`, '--admin', '127.0.0.1:0', '--data', this.#data];
    // What names a setting of the tests is none of the server's.
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith('SYNCBRIDGE_')),
    );
    const child = spawn(binary(), ['serve', ...listen, ...this.#arguments], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    let said = '';
    child.stderr.on('data', (text: Buffer) => {
      said += text;
    });
    for await (const line of createInterface(child.stdout)) {
      said += `${line}\n`;
      if (line.includes('operators')) {
        child.stdout.resume();
        return;
      }
    }
    throw new Error(`the server did not start:\n${said}`);
  }

  /** `kill -9`. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** As an operator ends it. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#data, { recursive: true, force: true });
  }
}
