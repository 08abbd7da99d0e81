/** The program with readers that go away: as a process, because only there is a pipe a pipe. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const shell = (line: string) =>
  spawnSync('bash', ['-c', `set -o pipefail; run() { "$0" src/cli/main.ts "$@"; }; ${line}`, process.execPath], { encoding: 'utf8' });

test('a reader of the output that stops early is no error', () => {
  // Longer than a pipe holds, so that writing goes on after the reader has gone.
  const { status, stdout, stderr } = shell('for i in 1 2; do run validate --schema; done | head -c 10');
  assert.equal(stderr, '');
  assert.equal(stdout.length, 10);
  assert.equal(status, 0);
});

test('a full disk behind the output is an error in one line', () => {
  const { status, stderr } = shell('run version > /dev/full');
  assert.equal(status, 1);
  assert.match(stderr, /^ravel-agent: standard output: ENOSPC.*\n$/);
});

test('complaints that nobody reads do not hide the exit code', () => {
  assert.equal(shell('run --nonsense 2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}').status, 1);
});
