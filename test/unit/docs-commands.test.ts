/** The pages about commands, reasons and errors say what the code does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { withCommands } from '../../scripts/command-docs.ts';
import { commands } from '../../src/cli/commands.ts';

const read = (path: string): string => readFileSync(path, 'utf8');

test('the tables of docs/commands.md are those of the code', () => {
  const page = read('docs/commands.md');
  assert.equal(withCommands(page), page, 'run node scripts/command-docs.ts');
  assert.match(page, /\| `vips\[\]\.services\[\]\.destinations\[\]\.weight` \|/);
  for (const { command } of commands)
    if (command !== '$0') assert.ok(page.includes(`\`${command}`) || page.includes(`ravel-agent ${command}`), command);
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
