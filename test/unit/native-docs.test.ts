/** docs/native.md is generated from the docstrings: it must be what the generator makes of them now. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');

test('docs/native.md is up to date', () => {
  const check = spawnSync(process.execPath, ['scripts/generate-native-docs.ts', '--check'], { cwd: root, encoding: 'utf8' });
  assert.equal(check.status, 0, check.stderr);
});

test('every public class has a docstring, and so has each of its methods', () => {
  const text = readFileSync(join(root, 'docs/native.md'), 'utf8');
  const classes = text.slice(text.indexOf('## Classes'), text.indexOf('## Functions and constants'));
  const bare = [...classes.matchAll(/^(#{3,4} .+)\n+(?=#{2,4} |(?![^]))/gm)]
    .map(([, heading]) => heading ?? '')
    // Standard protocols of the language, and fields whose error class explains them.
    .filter((heading) => !/Symbol\.|readonly |next\(|return\(/.test(heading));
  assert.deepEqual(bare, []);
});
