import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPath, maximumTold, quote, Report } from '../../src/model/problems.ts';

test('paths quote what is no plain word', () => {
  assert.equal(formatPath(['config', '10.50.0.100', '80', 'ipvsOptions', 'scheduler']), 'config."10.50.0.100"."80".ipvsOptions.scheduler');
  assert.equal(formatPath(['services', 3, 'endpoints', 0, 'address']), 'services[3].endpoints[0].address');
  assert.equal(formatPath(['labels', 'a"b\n']), 'labels."a\\"b\\n"');
  assert.equal(formatPath([]), '');
});

test('quotes are cut and hold nothing that a terminal obeys', () => {
  assert.equal(quote('wrr'), '"wrr"');
  assert.equal(quote('\u001b[31m'), '"\\u001b[31m"');
  assert.ok(quote('x'.repeat(10_000)).length < 80);
  assert.ok(formatPath(['x'.repeat(10_000)]).length < 80);
});

test('a hundred findings are told, the rest is counted', () => {
  const report = new Report();
  for (let index = 0; index < maximumTold + 20; index++) report.error(['nodes', index], 'wrong');
  const list = report.list('error');
  assert.equal(list.length, maximumTold + 1);
  assert.deepEqual(list.at(-1), { path: '', message: 'and 20 more' });
  assert.equal(report.errors, maximumTold + 20);
  assert.equal(report.isHopeless(), false);
  assert.deepEqual(report.list('warning'), []);
});

test('texts of findings that are not told are not made', () => {
  const report = new Report();
  let made = 0;
  for (let index = 0; index < 500; index++) {
    report.error([index], () => {
      made++;
      return 'wrong';
    });
  }
  assert.equal(made, maximumTold);
});

test('at a thousand errors it is hopeless, and the count says that it is a lower bound', () => {
  const report = new Report();
  for (let index = 0; index < 1000; index++) report.error([index], 'wrong');
  assert.equal(report.isHopeless(), true);
  assert.equal(report.list('error').at(-1)?.message, 'and at least 900 more');
});

test('a warning that is told once says how often', () => {
  const report = new Report();
  report.warnOnce(['a'], 'no effect');
  report.warnOnce(['b'], 'no effect');
  report.warnOnce(['c'], 'other');
  assert.deepEqual(report.list('warning'), [
    { path: 'a', message: 'no effect (2 times; the first is here)' },
    { path: 'c', message: 'other' },
  ]);
});

test('lines are those of the path, else of the nearest thing around it', () => {
  const report = new Report();
  report.error(['a', 'b', 'missing'], 'late');
  report.error(['a'], 'early');
  report.place((path, around) => (path === 'a' ? 1 : around.includes('a.b') ? 2 : undefined));
  assert.deepEqual(report.list('error'), [
    { path: 'a', message: 'early', line: 1 },
    { path: 'a.b.missing', message: 'late', line: 2 },
  ]);
});
