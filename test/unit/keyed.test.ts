import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diffKeyed } from '../../src/diff/keyed.ts';

const entries = fc.uniqueArray(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.nat(2)), { selector: ([key]) => key });

test('a keyed diff names each key that is missing, surplus or unequal once, and no other', () => {
  fc.assert(
    fc.property(entries, entries, (left, right) => {
      const [desired, observed] = [new Map(left), new Map(right)];
      const { missing, changed, surplus } = diffKeyed(desired, observed, (a, b) => a === b);
      const result = new Map(observed);
      for (const { key } of surplus) assert.ok(result.delete(key));
      for (const { key, desired: value } of missing) {
        assert.equal(result.has(key), false);
        result.set(key, value);
      }
      for (const { key, desired: value, observed: old } of changed) {
        assert.deepEqual([result.get(key), old === value], [old, false]);
        result.set(key, value);
      }
      assert.deepEqual(new Map([...result].sort()), new Map([...desired].sort()));
    }),
  );
});

test('equality is the caller’s: what it calls equal is left out', () => {
  const desired = new Map([['a', 1]]);
  const observed = new Map([['a', 2]]);
  assert.deepEqual(
    diffKeyed(desired, observed, () => true),
    { missing: [], changed: [], surplus: [] },
  );
  assert.deepEqual(diffKeyed(desired, observed, () => false).changed, [{ key: 'a', desired: 1, observed: 2 }]);
});
