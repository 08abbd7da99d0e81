/** Fills the marked block of docs/metrics.md from the table of families. `--check` writes nothing and exits 1 when the page is out of date. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { metricFamilies } from '../src/observe/metric-families.ts';

const path = join(dirname(fileURLToPath(import.meta.url)), '../docs/metrics.md');

/** The page with its block made anew. */
export function withMetrics(page: string): string {
  const rows = metricFamilies.map(
    ({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`,
  );
  const table = ['| metric | type | labels | meaning |', '|---|---|---|---|', ...rows].join('\n');
  return page.replace(/<!-- metrics -->\n[^]*?<!-- \/metrics -->/, () => `<!-- metrics -->\n\n${table}\n\n<!-- /metrics -->`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const current = readFileSync(path, 'utf8');
  const next = withMetrics(current);
  if (!process.argv.includes('--check')) writeFileSync(path, next);
  else if (next !== current) {
    console.error('docs/metrics.md is out of date: run make docs');
    process.exit(1);
  }
}
