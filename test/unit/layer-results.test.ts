import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addLines, addNativeOutput, emptyResult, finish, summary, type TestLine } from '../runner/results.ts';

function line(fields: Partial<TestLine>): string {
  return `${JSON.stringify({ name: 'a test', file: '/x/a.test.ts', nesting: 0, outcome: 'passed', ...fields })}\n`;
}

test('passed, failed and skipped tests are counted, with the reasons and errors kept', () => {
  const result = emptyResult('unit');
  addLines(result, line({}) + line({ outcome: 'failed', error: 'boom' }) + line({ outcome: 'skipped', reason: 'needs Linux 6.2' }));
  finish(result);
  assert.deepEqual([result.passed, result.failed, result.skipped], [1, 1, ['a test: needs Linux 6.2']]);
  assert.match(result.problems.join(), /boom/);
});

test('a skip without a reason is a failure', () => {
  const result = emptyResult('unit');
  addLines(result, line({}) + line({ outcome: 'skipped', reason: '' }));
  assert.equal(result.failed, 1);
  assert.match(result.problems.join(), /skipped without a reason/);
});

test('a file without a test is a failure', () => {
  const result = emptyResult('unit');
  addLines(result, line({ name: '/x/a.test.ts' }));
  assert.deepEqual([result.passed, result.failed], [0, 1]);
});

test('a layer that ran nothing fails, also when all of it was skipped', () => {
  const nothing = emptyResult('vm');
  finish(nothing);
  assert.equal(nothing.failed, 1);
  const skipped = emptyResult('vm');
  addLines(skipped, line({ outcome: 'skipped', reason: 'no machine' }));
  finish(skipped);
  assert.equal(skipped.failed, 1);
});

test('a layer that says why it could not be run is named, and does not fail', () => {
  const result = { ...emptyResult('e2e'), notRun: 'there is no go here' };
  finish(result);
  assert.equal(result.failed, 0);
  assert.match(summary([result], []), /e2e was not run: there is no go here/);
  const empty = { ...emptyResult('e2e'), notRun: '' };
  finish(empty);
  assert.equal(empty.failed, 1, 'an empty reason is none');
});

test('the sanitizer run is counted from its last line', () => {
  const good = emptyResult('native');
  addNativeOutput(good, 'skipped Kernel: no netlink here\n12 passed, 0 failed, 1 skipped\n', 0);
  assert.deepEqual([good.passed, good.failed, good.skipped], [12, 0, ['Kernel: no netlink here']]);
  const bad = emptyResult('native');
  addNativeOutput(bad, 'not ok Batch\n11 passed, 1 failed, 0 skipped\n', 1);
  assert.deepEqual([bad.passed, bad.failed], [11, 1]);
  const crashed = emptyResult('native');
  addNativeOutput(crashed, '==1==ERROR: AddressSanitizer: heap-use-after-free\n', 1);
  assert.equal(crashed.failed, 1);
  const leaked = emptyResult('native');
  addNativeOutput(leaked, '12 passed, 0 failed, 0 skipped\n==1==ERROR: LeakSanitizer\n', 23);
  assert.equal(leaked.failed, 1);
});

test('the summary ends with one line of totals', () => {
  const result = emptyResult('unit');
  addLines(result, line({}) + line({ outcome: 'skipped', reason: 'why' }));
  const text = summary([result], ['vm']);
  assert.match(text, /skipped in unit: a test: why/);
  assert.match(text, /not selected: vm/);
  assert.equal(text.split('\n').at(-1), '1 passed, 0 failed, 1 skipped');
});
