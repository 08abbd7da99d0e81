import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommunityError, formatCommunity, formatLargeCommunity, parseCommunities, parseCommunity } from '../../src/model/communities.ts';

const number = fc.integer({ min: 0, max: 0xffffffff });

test('what is printed is read as the same community', () => {
  fc.assert(fc.property(number, (value) => assert.deepEqual(parseCommunity(formatCommunity(value)), { kind: 'standard', value })));
  fc.assert(
    fc.property(fc.tuple(number, number, number), (value) =>
      assert.deepEqual(parseCommunity(formatLargeCommunity(value)), { kind: 'large', value }),
    ),
  );
});

test('a list comes out sorted and unique, whatever its order', () => {
  const word = fc.oneof(
    fc.integer({ min: 0, max: 5 }).map((value) => `65000:${value}`),
    fc.tuple(fc.integer({ min: 9, max: 11 }), fc.integer({ min: 9, max: 11 })).map(([a, b]) => `65000:${a}:${b}`),
    number.map(formatCommunity),
  );
  fc.assert(
    fc.property(fc.array(word), fc.func(fc.integer()), (list, key) => {
      const read = parseCommunities(list);
      assert.deepEqual(parseCommunities([...list, ...list].sort((a, b) => key(a) - key(b))), read);
      assert.deepEqual(
        read.communities,
        [...new Set(read.communities)].sort((a, b) => a - b),
      );
      assert.equal(new Set(read.largeCommunities.map(String)).size, read.largeCommunities.length);
    }),
  );
});

test('any text is a community or a typed error', () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9:a-z-]{0,24}$/));
  fc.assert(
    fc.property(text, (word) => {
      try {
        const { kind, value } = parseCommunity(word);
        const numbers = kind === 'standard' ? [value] : value;
        assert.ok(numbers.every((part) => Number.isInteger(part) && part >= 0 && part <= 0xffffffff));
      } catch (error) {
        assert.ok(error instanceof CommunityError);
        assert.equal(error.word, word);
      }
    }),
    { numRuns: 2000 },
  );
});
