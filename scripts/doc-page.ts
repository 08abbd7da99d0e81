/** A page below docs/ that is made from the code in part. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Writes the page with its marked blocks made anew; with `--check` writes nothing, and exits 1 when that would change it. */
export function updatePage(name: string, renew: (page: string) => string): void {
  const path = join(dirname(fileURLToPath(import.meta.url)), '../docs', name);
  const current = readFileSync(path, 'utf8');
  const next = renew(current);
  if (!process.argv.includes('--check')) writeFileSync(path, next);
  else if (next !== current) {
    console.error(`docs/${name} is out of date: run make docs`);
    process.exit(1);
  }
}
