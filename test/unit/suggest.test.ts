import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editDistance, nearest } from '../../src/model/suggest.ts';

test('edit distance', () => {
  for (const [a, b, distance] of [
    ['', '', 0],
    ['wrr', 'wrr', 0],
    ['wrr', 'wr', 1],
    ['wrr', 'wrrr', 1],
    ['wrr', 'wlr', 1],
    ['portName', 'protName', 1],
    ['kitten', 'sitting', 3],
    ['abc', '', 3],
  ] as const) {
    assert.equal(editDistance(a, b, 10), distance, `${a} ${b}`);
    assert.equal(editDistance(b, a, 10), distance, `${b} ${a}`);
  }
});

test('beyond the limit the answer is only that it is beyond', () => {
  assert.ok(editDistance('kitten', 'sitting', 2) > 2);
  assert.ok(editDistance('a', 'abcdef', 2) > 2);
});

test('the nearest word, or none', () => {
  const words = ['config', 'config6', 'vipPool', 'labels'];
  assert.equal(nearest('cnofig', words), 'config');
  assert.equal(nearest('config7', words), 'config');
  assert.equal(nearest('VIPPOOL', words), 'vipPool');
  assert.equal(nearest('label', words), 'labels');
  assert.equal(nearest('zzzzzz', words), undefined);
  assert.equal(nearest('config'.padEnd(100, 'x'), words), undefined);
});
