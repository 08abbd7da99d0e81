/** What the README says must be there: targets, files, examples. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { withExamples } from '../../scripts/readme.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

test('every make target in the README exists', () => {
  const makefile = readFileSync(join(root, 'Makefile'), 'utf8');
  const named = [...readme.matchAll(/(?:^|`)make ([a-z][a-z0-9-]*)/gm)].map(([, target]) => target ?? '');
  assert.ok(named.includes('demo') && named.includes('test'), 'the two commands a newcomer needs');
  for (const target of named) assert.match(makefile, new RegExp(`^${target}:`, 'm'), `make ${target}`);
});

test('every local link in the README and in docs/ leads somewhere', () => {
  const pages = [
    'README.md',
    'docs/architecture.md',
    'docs/adr/README.md',
    'docs/commands.md',
    'docs/configuration.md',
    'docs/lab.md',
    'charts/ravel-agent/README.md',
  ];
  for (const page of pages) {
    const text = readFileSync(join(root, page), 'utf8');
    for (const [, target] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      assert.ok(existsSync(join(root, dirname(page), target ?? '')), `${page} links to ${target ?? ''}`);
    }
  }
});

test('the examples in the README are the files that the tests run', () => {
  assert.equal(withExamples(readme), readme, 'run `make docs`');
  assert.match(readme, /<!-- example: examples\/ipvs\.mjs -->/);
});
