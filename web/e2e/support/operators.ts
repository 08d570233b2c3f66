// The operators' token, in a file of its own for the server to read.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Operators {
  readonly token: string;
  /** For the server: where the token is. */
  readonly setting: string;
  /** Removes the file. */
  readonly forget: () => Promise<void>;
}

export async function operators(): Promise<Operators> {
  const folder = await mkdtemp(join(tmpdir(), 'syncbridge-operators-'));
  const file = join(folder, 'token');
  const token = crypto.randomUUID();
  await writeFile(file, `${token}\n`, { mode: 0o600 });
  return { token, setting: `console.token_file=${file}`, forget: () => rm(folder, { recursive: true }) };
}
