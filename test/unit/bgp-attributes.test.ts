/** Path attributes and prefixes against bytes put together by hand from the figures of the RFCs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AttributeError } from '../../src/announce/bgp/attribute-error.ts';
import { decodeAttributes, encodeAttributes } from '../../src/announce/bgp/attributes.ts';
import { decodePrefix, encodePrefix } from '../../src/announce/bgp/nlri.ts';
import type { BgpPath } from '../../src/model/bgp.ts';

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const hex = (list: readonly Uint8Array[]): string[] => list.map((item) => Buffer.from(item).toString('hex'));
const expected = (...list: readonly string[]): string[] => list.map((item) => item.replaceAll(' ', ''));

const plain: BgpPath = { prefix: '192.0.2.10/32', nextHop: '0.0.0.0', communities: [], largeCommunities: [] };
const plain6: BgpPath = { ...plain, prefix: '2001:db8::10/128', nextHop: '::' };

describe('prefixes (RFC 4271 section 4.3)', () => {
  test('a length in bits and as many bytes as it takes', () => {
    for (const [text, code] of [
      ['192.0.2.10/32', '20 c0 00 02 0a'],
      ['198.51.100.128/25', '19 c6 33 64 80'],
      ['198.51.100.0/24', '18 c6 33 64'],
      ['10.0.0.0/7', '07 0a'],
      ['0.0.0.0/0', '00'],
      ['2001:db8::10/128', '80 20010db8 00000000 00000000 00000010'],
      ['2001:db8:1::/48', '30 20010db80001'],
      ['::/0', '00'],
    ] as const) {
      assert.equal(Buffer.from(encodePrefix(text)).toString('hex'), code.replaceAll(' ', ''), text);
      assert.equal(decodePrefix(bytes(code), text.includes(':') ? 6 : 4), text);
    }
  });

  test('bits beyond the length do not count', () => {
    assert.equal(decodePrefix(bytes('19 c6 33 64 ff'), 4), '198.51.100.128/25');
  });

  test('what is longer than its family, cut off or followed by something is refused', () => {
    for (const [code, family] of [
      ['', 4],
      ['21 c0 00 02 0a 00', 4],
      ['20 c0 00 02', 4],
      ['20 c0 00 02 0a 00', 4],
      ['81 20010db8 00000000 00000000 00000010 00', 6],
      ['80 20010db8', 6],
      ['ff', 6],
    ] as const) {
      assert.throws(() => decodePrefix(bytes(code), family), AttributeError, code);
    }
    for (const text of ['192.0.2.10', '192.0.2.10/33', 'x/1', '']) assert.throws(() => encodePrefix(text), TypeError, text);
  });
});

describe('attributes', () => {
  test('of an IPv4 route, by type code: ORIGIN, NEXT_HOP, MED, LOCAL_PREF, COMMUNITIES, LARGE_COMMUNITY', () => {
    const path: BgpPath = {
      ...plain,
      nextHop: '10.0.0.7',
      med: 50,
      localPreference: 4294967295,
      communities: [0xfde80064, 0xffff0000],
      largeCommunities: [[65000, 1, 4294967295]],
    };
    const code = expected(
      '40 01 01 00',
      '40 03 04 0a000007',
      '80 04 04 00000032',
      '40 05 04 ffffffff',
      'c0 08 08 fde80064 ffff0000',
      'c0 20 0c 0000fde8 00000001 ffffffff',
    );
    assert.deepEqual(hex(encodeAttributes(path)), code);
  });

  test('of an IPv6 route the next hop and the prefix are in MP_REACH_NLRI (RFC 4760 section 3, RFC 2545 section 3)', () => {
    const path: BgpPath = { ...plain6, nextHop: '2001:db8::1', communities: [0xfde80064] };
    assert.deepEqual(
      hex(encodeAttributes(path)),
      expected(
        '40 01 01 00',
        'c0 08 04 fde80064',
        '80 0e 26  0002 01 10 20010db8000000000000000000000001 00  80 20010db8000000000000000000000010',
      ),
    );
  });

  test('no preference is not a preference of 0', () => {
    assert.deepEqual(hex(encodeAttributes(plain)), expected('40 01 01 00', '40 03 04 00000000'));
    assert.deepEqual(
      hex(encodeAttributes({ ...plain, med: 0, localPreference: 0 })),
      expected('40 01 01 00', '40 03 04 00000000', '80 04 04 00000000', '40 05 04 00000000'),
    );
  });

  test('a value above 255 bytes has a length of two bytes, and says so', () => {
    const communities = Array.from({ length: 64 }, (_, index) => 0xfde80000 + index);
    const [, , long] = encodeAttributes({ ...plain, communities });
    assert.equal(Buffer.from(long!.subarray(0, 8)).toString('hex'), 'd0080100fde80000');
    assert.equal(long!.length, 4 + 256);
    const [, , short] = encodeAttributes({ ...plain, communities: communities.slice(1) });
    assert.equal(Buffer.from(short!.subarray(0, 3)).toString('hex'), 'c008fc');
    assert.deepEqual(decodeAttributes([long!]).communities, communities);
  });

  test('a next hop of another family, or too much of anything, is refused', () => {
    assert.throws(() => encodeAttributes({ ...plain, nextHop: '::' }), /:: is no next hop for 192\.0\.2\.10\/32/);
    assert.throws(() => encodeAttributes({ ...plain6, nextHop: '10.0.0.1' }), TypeError);
    assert.throws(() => encodeAttributes({ ...plain, nextHop: 'x' }), TypeError);
    assert.throws(() => encodeAttributes({ ...plain, prefix: '192.0.2.10' }), TypeError);
    assert.throws(() => encodeAttributes({ ...plain, communities: new Array<number>(16384).fill(1) }), /65535 at most/);
  });

  test('what neighbours told: unknown attributes, paths of two segments, link-local next hops', () => {
    const read = decodeAttributes([
      bytes('40 01 01 02'),
      bytes('40 02 0a 02 02 0000fde9 00011170'),
      bytes('80 0e 26  0002 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001 00  00'),
      bytes('c0 10 08 0002fde800000064'),
      bytes('e0 63 00'),
    ]);
    assert.deepEqual(read, {
      nextHop: '2001:db8::1',
      med: undefined,
      localPreference: undefined,
      communities: [],
      largeCommunities: [],
      originAsn: 70000,
    });
    assert.equal(decodeAttributes([bytes('40 02 00')]).originAsn, undefined);
    assert.equal(decodeAttributes([bytes('40 02 0c 02 01 0000fde9 01 01 0000fdea')]).originAsn, undefined, 'a set at the end');
    assert.equal(decodeAttributes([bytes('40 02 0c 01 01 0000fde9 02 01 0000fdea')]).originAsn, 65002);
    assert.equal(decodeAttributes([bytes('80 0e 09 0001 01 04 0a000001 00')]).nextHop, '10.0.0.1');
    assert.equal(decodeAttributes([bytes('80 0e 11 0001 80 0c 0000000000000000 0a000001 00')]).nextHop, undefined, 'of a VPN');
  });

  test('what is not as long as it says is a typed error', () => {
    for (const code of [
      '',
      '40',
      '40 03',
      '40 03 04 0a0000',
      '40 03 03 0a0000',
      '80 04 02 0032',
      '40 05 05 0000000000',
      'c0 08 03 fde800',
      'd0 08 00',
      'd0 08 01 00 fde80064',
      'c0 20 08 0000fde800000001',
      '80 0e 04 0002 01 00',
      '80 0e 05 0002 01 10 00',
      '40 02 01 02',
      '40 02 05 02 02 0000fd',
    ]) {
      assert.throws(() => decodeAttributes([bytes(code)]), AttributeError, code);
    }
  });
});
