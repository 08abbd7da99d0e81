import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CommunityError, formatCommunity, formatLargeCommunity, parseCommunities, parseCommunity } from '../../src/model/communities.ts';

describe('communities', () => {
  test('numbers of RFC 1997', () => {
    for (const [text, value] of [
      ['0:0', 0],
      ['65000:100', 0xfde80064],
      ['65535:65535', 0xffffffff],
      ['32768:0', 0x80000000],
      ['4259840100', 0xfde80064],
      ['0', 0],
      ['4294967295', 0xffffffff],
    ] as const) {
      assert.deepEqual(parseCommunity(text), { kind: 'standard', value }, text);
    }
  });

  test('words of the registry, as RFCs and as people write them', () => {
    for (const [text, value] of [
      ['no-export', 0xffffff01],
      ['NO_EXPORT', 0xffffff01],
      ['no-advertise', 0xffffff02],
      ['no-export-subconfed', 0xffffff03],
      ['local-as', 0xffffff03],
      ['no-peer', 0xffffff04],
      ['graceful-shutdown', 0xffff0000],
      ['planned-shut', 0xffff0000],
      ['accept-own', 0xffff0001],
      ['llgr-stale', 0xffff0006],
      ['no-llgr', 0xffff0007],
      ['blackhole', 0xffff029a],
    ] as const) {
      assert.deepEqual(parseCommunity(text), { kind: 'standard', value }, text);
    }
    assert.equal(formatCommunity(0xffff0000), 'graceful-shutdown');
    assert.equal(formatCommunity(0xffffff03), 'no-export-subconfed');
    assert.equal(formatCommunity(0xffff029b), '65535:667');
  });

  test('large ones of RFC 8092', () => {
    assert.deepEqual(parseCommunity('65000:1:2'), { kind: 'large', value: [65000, 1, 2] });
    assert.deepEqual(parseCommunity('4294967295:0:4294967295'), { kind: 'large', value: [4294967295, 0, 4294967295] });
    assert.equal(formatLargeCommunity([65000, 1, 2]), '65000:1:2');
  });

  test('a list is told apart by kind, in order, each once', () => {
    assert.deepEqual(
      parseCommunities(['65000:200', '65000:10:1', 'no-export', '65000:100', '65000:2:9', '65000:200', '65000:10:1', '4259840100']),
      {
        communities: [0xfde80064, 0xfde800c8, 0xffffff01],
        largeCommunities: [
          [65000, 2, 9],
          [65000, 10, 1],
        ],
      },
    );
    assert.deepEqual(parseCommunities([]), { communities: [], largeCommunities: [] });
  });

  test('what is none is named', () => {
    for (const [text, reason] of [
      ['', /neither/],
      ['65536:1', /65536 is above 65535/],
      ['1:65536', /65536 is above 65535/],
      ['4294967296', /above 4294967295/],
      ['99999999999', /no decimal number/],
      ['1:2:4294967296', /above 4294967295/],
      ['1:2:3:4', /more than three/],
      ['1:', /"" is no decimal/],
      [':1', /"" is no decimal/],
      ['01:1', /"01" is no decimal/],
      ['-1:1', /"-1" is no decimal/],
      ['1:+1', /"\+1" is no decimal/],
      ['1: 1', /" 1" is no decimal/],
      ['0x10', /no decimal/],
      ['no-exprot', /did you mean "no-export"/],
      ['rt:1', /"rt" is no decimal/],
      ['constructor', /neither/],
      ['\u001b[31m', /neither/],
    ] as const) {
      assert.throws(
        () => parseCommunity(text),
        (error) => error instanceof CommunityError && error.word === text && reason.test(error.reason) && !error.message.includes('\u001b'),
        text,
      );
    }
    assert.throws(
      () => parseCommunities(['65000:1', '1:2:3:4', 'x']),
      (error) => error instanceof CommunityError && error.word === '1:2:3:4',
    );
  });
});
