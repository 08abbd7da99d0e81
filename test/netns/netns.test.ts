import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { KernelError } from '../../src/native/errors.ts';
import { Netns } from '../../src/native/netns.ts';
import { temporaryDirectory } from '../temporary-directory.ts';

suite('namespaces that cannot be opened', () => {
  test('the path and the errno are named, and none of them holds the thread that all openings share', async () => {
    const folder = temporaryDirectory('netns');
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const [path, code] of [
      [fifo, 'EINVAL'],
      [folder, 'EINVAL'],
      ['/proc/self/ns/uts', 'EINVAL'],
      [join(folder, 'missing'), 'ENOENT'],
    ] as const) {
      await assert.rejects(Netns.fromPath(path), (error) => {
        assert.ok(KernelError.is(error, code), String(error));
        assert.equal(error.subject, path);
        return true;
      });
    }
    await (await Netns.fromPath('/proc/self/ns/net')).close();
  });
});
