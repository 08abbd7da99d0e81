/** What an operator reads when something is refused: operation, object, errno, and what mends it. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { failureOf } from '../../src/drivers/outcome.ts';
import { KernelError } from '../../src/native/errors.ts';

const refused = { op: 'nftables.commit', subject: 'table ip ravel', errno: 1, code: 'EPERM' };

test('EPERM without a word of the kernel says what mends it; with one, or a hint, that is what is shown', () => {
  assert.equal(
    failureOf(new KernelError(refused), 'pass', 'kernel state').message,
    'nftables.commit table ip ravel: EPERM; try: run as root, or with CAP_NET_ADMIN',
  );
  assert.equal(
    new KernelError({ ...refused, extack: { message: 'needs CAP_NET_RAW' } }).message,
    'nftables.commit table ip ravel: EPERM: needs CAP_NET_RAW',
  );
  assert.doesNotMatch(new KernelError({ ...refused, code: 'EBUSY', errno: 16 }).message, /try:/);
});

test('an error of a file keeps its errno name and its path', async () => {
  const error: unknown = await readFile('/dev/null/below').catch((reason: unknown) => reason);
  const { code, message, op } = failureOf(error, 'sysctl.journal', '/dev/null/below');
  assert.deepEqual([op, code], ['sysctl.journal', 'ENOTDIR']);
  assert.match(message, /^sysctl\.journal ENOTDIR: .*\/dev\/null\/below/);
  assert.equal(failureOf(new Error('damaged'), 'sysctl.journal', 'file').code, 'Error');
});
