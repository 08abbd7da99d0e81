/** Directories of tests are gone with the process that made them, however it ended by itself. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary-directory.ts';

const module = path.resolve('test/temporary-directory.ts');

/** Makes two directories with a file in each, says where and how many there are below TMPDIR, and ends as told. */
function run(end: string): { status: number | null; made: string[]; left: string[] } {
  const place = temporaryDirectory('place');
  const program = `
    import { readdirSync, writeFileSync } from 'node:fs';
    import { temporaryDirectory } from ${JSON.stringify(module)};
    const made = [temporaryDirectory('same'), temporaryDirectory('same')];
    for (const directory of made) writeFileSync(directory + '/file', '');
    console.log(made.join('\\n'));
    ${end}`;
  const { status, stdout } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', program],
    {
      env: { ...process.env, TMPDIR: place },
      encoding: 'utf8',
    },
  );
  const made = stdout.trim().split('\n');
  for (const directory of made) assert.ok(directory.startsWith(`${place}/ravel-test-`), directory);
  return { status, made, left: readdirSync(place) };
}

for (const [how, end, status] of [
  ['returns', '', 0],
  ['exits', 'process.exit(3);', 3],
  ['throws', 'throw new Error("on purpose");', 1],
] as const) {
  test(`a process that ${how} leaves none`, () => {
    const ended = run(end);
    assert.deepEqual([ended.status, ended.made.length, new Set(ended.made).size], [status, 2, 2]);
    assert.deepEqual(ended.left, []);
  });
}

test('a process that is killed leaves one, whatever it made', () => {
  const { status, made, left } = run("process.kill(process.pid, 'SIGKILL');");
  assert.equal(status, null);
  assert.equal(left.length, 1);
  assert.ok(made.every((directory) => existsSync(directory)));
});
