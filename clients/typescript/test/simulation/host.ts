// The real server's cores, in a process of their own (server/examples/simulation_host.rs): one line in, one line out.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** One step; see the fields of `Step` in simulation_host.rs. */
export interface Step {
  seed?: number;
  advance?: number;
  crash?: boolean;
  drain?: boolean;
  restart?: boolean;
  open?: [link: string, room: number][];
  up?: [link: string, hex: string][];
  cut?: string[];
  gone?: string[];
  turns?: number;
  settle?: boolean;
  take?: [link: string, most: number][];
  documents?: string[];
}

/** What came of it. */
export interface Answer {
  now: number;
  epoch: number;
  over: boolean;
  idle: boolean;
  /** As `take`, in its order. */
  taken: { bytes: string; end: boolean; code: number | null }[];
  documents: ({ version: number; live: unknown; storedVersion: number; stored: unknown } | null)[];
}

/** Where cargo puts it, unless SYNCBRIDGE_SIMULATION names another. */
function binary(): string {
  const target =
    process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../../target', import.meta.url));
  const path = process.env.SYNCBRIDGE_SIMULATION ?? `${target}/debug/examples/simulation_host`;
  if (!existsSync(path)) {
    throw new Error(`there is no ${path}: cargo build -p syncbridge --example simulation_host`);
  }
  return path;
}

export class Host {
  readonly #process: ChildProcessByStdio<Writable, Readable, null> = spawn(binary(), [], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  readonly #lines: Interface = createInterface(this.#process.stdout);
  readonly #answers: AsyncIterator<string> = this.#lines[Symbol.asyncIterator]();

  async step(step: Step): Promise<Answer> {
    this.#process.stdin.write(`${JSON.stringify(step)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('the host of the simulation ended');
    return JSON.parse(value) as Answer;
  }

  close(): void {
    this.#process.stdin.end();
    this.#process.kill();
  }
}
