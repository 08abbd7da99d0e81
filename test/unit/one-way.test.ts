/** The judge of one-way streams in the lab. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge } from '../lab/one-way.ts';

/** A datagram each 10 ms, from 1000 ms on. */
const sentAt = Array.from({ length: 300 }, (_, number) => 1000 + number * 10);

test('what reached the wrong pod, what was lost, and until when', () => {
  const turns = [
    { title: 'a', at: 995, pods: ['a'] },
    { title: 'b', at: 1995, pods: ['b'] },
    { title: 'nobody', at: 2995, pods: [] },
  ];
  // 0…99 belong to a, 100…199 to b. b gets its first after a had 5 of them and 3 were lost; 4 come when none should.
  const received = new Map([
    ['a', { ranges: [[0, 49] as const, [50, 104] as const], twice: 0 }],
    ['b', { ranges: [[108, 203] as const], twice: 0 }],
  ]);
  assert.deepEqual(judge(turns, sentAt, received), [
    { title: 'a', sent: 98, misdelivered: 0, lost: 0, lastedMs: 0 },
    { title: 'b', sent: 98, misdelivered: 5, lost: 3, lastedMs: 75 },
    { title: 'nobody', sent: 100, misdelivered: 4, lost: 0, lastedMs: 35 },
  ]);
});

test('nobody receives, though somebody may: lost to the end', () => {
  const [delivery] = judge([{ title: 'a', at: 0, pods: ['a'] }], sentAt, new Map());
  assert.deepEqual(delivery, { title: 'a', sent: 300, misdelivered: 0, lost: 300, lastedMs: 3990 });
});
