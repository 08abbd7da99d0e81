/** What a daemon has against what it is to have: routes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BgpPath, ListedPath } from '../../src/announce/bgp/daemon.ts';
import { conflictsIn, diffPaths, oursOf } from '../../src/announce/bgp/paths.ts';

const path = (prefix: string, more: Partial<BgpPath> = {}): BgpPath => ({
  prefix,
  nextHop: '0.0.0.0',
  communities: [],
  largeCommunities: [],
  ...more,
});
const ours = (one: BgpPath): ListedPath => ({ path: one, ours: true, neighbour: undefined, best: true });
const foreign = (one: BgpPath): ListedPath => ({ path: one, ours: false, neighbour: undefined, best: true });
const learned = (one: BgpPath, neighbour: string, originAsn?: number): ListedPath => ({
  ...{ path: one, ours: false, neighbour, best: true },
  ...(originAsn === undefined ? {} : { originAsn }),
});
const wanted = (...paths: BgpPath[]): Map<string, BgpPath> => new Map(paths.map((one) => [one.prefix, one]));

test('adds what is missing, replaces what differs, withdraws what nobody wants', () => {
  const diff = diffPaths(wanted(path('a/32'), path('b/32', { med: 2 }), path('c/32')), [
    ...[ours(path('b/32', { med: 1 })), ours(path('c/32')), ours(path('d/32'))],
  ]);
  assert.deepEqual(diff, { add: [path('a/32')], replace: [path('b/32', { med: 2 })], withdraw: ['d/32'] });
});

test('what is there already, is left', () => {
  const there = path('a/32', { communities: [1, 2], largeCommunities: [[1, 2, 3]], localPreference: 1, med: 2 });
  assert.deepEqual(diffPaths(wanted({ ...there, communities: [2, 1] }), [ours(there)]), { add: [], replace: [], withdraw: [] });
});

test('routes of others neither stand for ours nor are taken back', () => {
  const others = [foreign(path('a/32')), learned(path('a/32'), '10.0.0.9'), foreign(path('b/32')), learned(path('c/32'), '10.0.0.9', 1)];
  assert.deepEqual(diffPaths(wanted(path('a/32')), others), { add: [path('a/32')], replace: [], withdraw: [] });
  // Even with our mark: it is not ours when a neighbour told it.
  const marked: ListedPath = { ...learned(path('a/32'), '10.0.0.9'), ours: true };
  assert.deepEqual(diffPaths(wanted(), [marked]), { add: [], replace: [], withdraw: [] });
  assert.deepEqual([...oursOf([marked, foreign(path('b/32')), ours(path('c/32'))]).keys()], ['c/32']);
});

test('whatever there is, what is done leads to what is wanted and leaves the rest', () => {
  const prefixes = fc.subarray(['a/32', 'b/32', 'c/32', 'd/32', 'e/32']);
  const some = fc.tuple(prefixes, fc.nat(2)).map(([list, med]) => list.map((prefix, index) => path(prefix, { med: (med + index) % 2 })));
  fc.assert(
    fc.property(some, some, some, some, (want, mine, by, from) => {
      const listed = [...mine.map(ours), ...by.map(foreign), ...from.map((one) => learned(one, '10.0.0.9', 65009))];
      const diff = diffPaths(wanted(...want), listed);
      const rib = oursOf(listed);
      for (const one of diff.add) assert.ok(!rib.has(one.prefix));
      for (const one of diff.replace) assert.ok(rib.has(one.prefix));
      for (const prefix of diff.withdraw) assert.ok(rib.delete(prefix));
      for (const one of [...diff.add, ...diff.replace]) rib.set(one.prefix, one);
      assert.deepEqual(new Map([...rib].sort()), new Map([...wanted(...want)].sort()));
      const after = [...rib.values()].map(ours);
      assert.deepEqual(diffPaths(wanted(...want), after), { add: [], replace: [], withdraw: [] });
    }),
  );
});

test('another origin of the same prefix is a conflict; another director is not', () => {
  const asks = (prefix: string): boolean => prefix === 'a/32';
  const listed = [
    ours(path('a/32')),
    learned(path('a/32'), '10.0.0.2'),
    learned(path('a/32'), '10.0.0.3', 65000),
    learned(path('b/32'), '10.0.0.4', 65009),
  ];
  assert.deepEqual([...conflictsIn(listed, 65000, asks)], []);
  const more = [...listed, learned(path('a/32'), '10.0.0.4', 65009), foreign(path('a/32'))];
  assert.deepEqual(conflictsIn(more, 65000, asks).get('a/32')?.by, [
    'autonomous system 65009 (told by neighbour 10.0.0.4)',
    'another program on this machine',
  ]);
});
