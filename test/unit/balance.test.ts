/** The judge of even shares in the lab: what it lets pass and what not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { binomialBounds, unevenness } from '../lab/balance.ts';

test('bounds of the binomial distribution, held against sums by hand', () => {
  // 4 draws of 1/2: 0 and 4 have a chance of 1/16 each.
  assert.deepEqual(binomialBounds(4, 0.5, 0.13), { least: 1, most: 3 });
  assert.deepEqual(binomialBounds(4, 0.5, 0.12), { least: 0, most: 4 });
  assert.deepEqual(binomialBounds(300, 1, 1e-9), { least: 300, most: 300 });
  // 300 draws of 1/3: about 5.7 deviations of 8.2 to each side.
  assert.deepEqual(binomialBounds(300, 1 / 3, 1e-8), { least: 55, most: 148 });
});

test('even shares pass; a pod too often, too seldom, never, or unknown does not', () => {
  const thirds = { a: 1 / 3, b: 1 / 3, c: 1 / 3 };
  assert.equal(unevenness({ a: 100, b: 90, c: 110 }, thirds, 1e-7), undefined);
  assert.match(unevenness({ a: 150, b: 75, c: 75 }, thirds, 1e-7) ?? '', /^a answered 150 of 300/);
  assert.match(unevenness({ a: 150, b: 150 }, thirds, 1e-7) ?? '', /^a answered|^c answered 0/);
  assert.match(unevenness({ a: 100, b: 100, c: 99, d: 1 }, thirds, 1e-7) ?? '', /^answers from d$/);
  assert.match(unevenness({ a: 225, b: 75 }, { a: 0.5, b: 0.5 }, 1e-6) ?? '', /^a answered 225 of 300/);
});
