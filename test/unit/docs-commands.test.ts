/** The pages about commands, reasons and errors say what the code does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { withCommands } from '../../scripts/command-docs.ts';
import { withMetrics } from '../../scripts/metric-docs.ts';
import { commands } from '../../src/cli/commands.ts';
import { metricFamilies } from '../../src/observe/metric-families.ts';

const read = (path: string): string => readFileSync(path, 'utf8');

test('the tables of docs/commands.md are those of the code', () => {
  const page = read('docs/commands.md');
  assert.equal(withCommands(page), page, 'run node scripts/command-docs.ts');
  assert.match(page, /\| `vips\[\]\.services\[\]\.destinations\[\]\.weight` \|/);
  for (const { command } of commands)
    if (command !== '$0') assert.ok(page.includes(`\`${command}`) || page.includes(`ravel-agent ${command}`), command);
});

test('docs/metrics.md has every family, and its alerts name no other', () => {
  const page = read('docs/metrics.md');
  assert.equal(withMetrics(page), page, 'run make docs');
  const known = new Set(metricFamilies.map(({ name }) => name));
  const named = [...page.matchAll(/\bravel_[a-z_]*[a-z]\b(?!_\*)/g)]
    .map(([name]) => name)
    .filter((name) => !['ravel_vip', 'ravel_bgp', 'ravel_watch'].includes(name));
  assert.ok(named.length > known.size / 2);
  assert.deepEqual(
    named.filter((name) => !known.has(name)),
    [],
  );
  const reasons = /export type ReasonCode =([^;]+);/.exec(read('src/model/cluster.ts'))?.[1] ?? '';
  for (const [, words = ''] of page.matchAll(/reason=~"([^"]+)"/g))
    for (const word of words.split('\\|')) assert.ok(reasons.includes(`'${word}'`), word);
});

test('every reason code has its row, and every row is a code', () => {
  const union = /export type ReasonCode =([^;]+);/.exec(read('src/model/cluster.ts'))?.[1] ?? '';
  const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code);
  const rows = [...read('docs/reasons.md').matchAll(/^\| `(\w+)` \|/gm)].map(([, code]) => code);
  assert.ok(codes.length >= 13);
  assert.deepEqual(rows.sort(), codes.sort());
});

test('every error class has its row', () => {
  const classes = [...read('src/native/errors.ts').matchAll(/^export class (\w+)/gm)].map(([, name]) => name ?? '');
  assert.ok(classes.length >= 6);
  const page = read('docs/errors.md');
  for (const name of classes) assert.ok(page.includes(`| \`${name}\` |`), name);
});
