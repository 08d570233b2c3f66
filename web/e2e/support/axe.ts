// What axe-core finds in a page that keeps somebody from using it.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { AxeResults } from 'axe-core';
import type { Device } from './browser.ts';

const axe = readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What is serious or critical, one line each; `where` names the page. */
export async function barriers({ page }: Device, where: string): Promise<string[]> {
  // By the debugger, which no policy of the page keeps out.
  await page.evaluate(await axe);
  const { violations } = await page.evaluate(() =>
    (window as unknown as { axe: { run: () => Promise<AxeResults> } }).axe.run(),
  );
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(
      ({ id, nodes }) =>
        `${where}: ${id}: ${nodes
          .map(node => node.html)
          .join(' ')
          .slice(0, 300)}`,
    );
}
