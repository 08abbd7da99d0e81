import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PersistentMap } from '../../src/model/persistent-map.ts';

const entries = Array.from({ length: 2000 }, (_, index): [string, number] => [`shop/s${index}`, index]);

test('holds what it was made from', () => {
  const map = PersistentMap.from(entries);
  assert.equal(map.size, 2000);
  assert.equal(map.get('shop/s1234'), 1234);
  assert.equal(map.get('shop/none'), undefined);
  assert.equal(map.has('shop/s0'), true);
  assert.equal(map.has(''), false);
  assert.deepEqual(new Map(map), new Map(entries));
  assert.deepEqual([...map.keys()].sort(), entries.map(([key]) => key).sort());
  assert.equal(
    [...map.values()].reduce((sum, value) => sum + value, 0),
    1999 * 1000,
  );
  const seen = new Map<string, number>();
  map.forEach((value, key) => seen.set(key, value));
  assert.deepEqual(seen, new Map(entries));
});

test('a change leaves the map it was made from as it was', () => {
  const first = PersistentMap.from(entries);
  const second = first.with('shop/s5', -5).with('new', 1).without('shop/s6');
  assert.equal(first.get('shop/s5'), 5);
  assert.equal(first.has('new'), false);
  assert.equal(first.has('shop/s6'), true);
  assert.equal(first.size, 2000);
  assert.equal(second.get('shop/s5'), -5);
  assert.equal(second.size, 2000);
  assert.equal(second.has('shop/s6'), false);
  assert.equal(second.without('absent'), second);
});

test('an iteration under way does not see a later change', () => {
  const map = PersistentMap.from(entries);
  const iteration = map.keys();
  iteration.next();
  for (const [key] of entries) map.without(key);
  assert.equal([...iteration].length, 1999);
});

test('the last of equal keys counts, once', () => {
  const map = PersistentMap.from([
    ['a', 1],
    ['a', 2],
  ]);
  assert.equal(map.size, 1);
  assert.equal(map.get('a'), 2);
  assert.equal(PersistentMap.from(map), map);
});

test('a deep comparison sees the content', () => {
  assert.deepEqual(PersistentMap.from([['a', 1]]), PersistentMap.from<number>([]).with('a', 1));
  assert.notDeepEqual(PersistentMap.from([['a', 1]]), PersistentMap.from([['a', 2]]));
});
