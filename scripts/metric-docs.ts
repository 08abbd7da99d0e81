/** Fills the marked block of docs/metrics.md from the table of families. `--check` writes nothing and exits 1 when the page is out of date. */
import { fileURLToPath } from 'node:url';
import { metricFamilies } from '../src/observe/metric-families.ts';
import { updatePage } from './doc-page.ts';

/** The page with its block made anew. */
export function withMetrics(page: string): string {
  const rows = metricFamilies.map(
    ({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`,
  );
  const table = ['| metric | type | labels | meaning |', '|---|---|---|---|', ...rows].join('\n');
  return page.replace(/<!-- metrics -->\n[^]*?<!-- \/metrics -->/, () => `<!-- metrics -->\n\n${table}\n\n<!-- /metrics -->`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) updatePage('metrics.md', withMetrics);
