// The TypeScript core against the real server's cores under simulation. A seed that fails is named:
// `SYNCBRIDGE_SEED=n npx vitest run test/simulation` runs it alone; SYNCBRIDGE_SEEDS=n and SYNCBRIDGE_STEPS=n run more.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { Host } from './host.ts';
import type { Mistake } from './peer.ts';
import { World } from './world.ts';

const setting = (name: string, otherwise: number) => Number(process.env[`SYNCBRIDGE_${name}`] ?? otherwise);
const STEPS = setting('STEPS', 200);
const SEEDS = setting('SEEDS', 200);
const ONE = process.env.SYNCBRIDGE_SEED;

let host: Host;
beforeAll(() => {
  host = new Host();
});
afterAll(() => host.close());

async function run(seed: number, steps: number, mistake?: Mistake): Promise<Set<string>> {
  const world = new World(host, seed, mistake);
  try {
    await world.run(steps);
  } catch (error) {
    throw new Error(`seed ${seed} of ${steps} steps: ${(error as Error).message}`, { cause: error });
  }
  return world.seen;
}

test('nothing is lost, nothing done twice and all copies are equal, whatever breaks', {
  timeout: 600_000,
}, async () => {
  const seen = new Set<string>();
  const seeds = ONE ? [Number(ONE)] : Array.from({ length: SEEDS }, (_, i) => i + 1);
  for (const seed of seeds) for (const kind of await run(seed, STEPS)) seen.add(kind);
  if (seeds.length < 50) return;
  // A simulation in which nothing goes wrong any more is noticed.
  for (const kind of ['crashed', 'restarted', 'died', 'resumed', 'refused', 'Lost', 'Lagged', 'Initial']) {
    expect(seen, `the simulation never saw ${kind}`).toContain(kind);
  }
});

test.each<Mistake>(['resends under a new counter', 'sends before it is written down'])(
  'a client that %s is caught',
  { timeout: 120_000 },
  async mistake => {
    let caught = 0;
    for (let seed = 1; seed <= 10; seed++) {
      try {
        await run(seed, STEPS, mistake);
      } catch {
        caught++;
      }
    }
    expect(caught).toBeGreaterThan(5);
  },
);
