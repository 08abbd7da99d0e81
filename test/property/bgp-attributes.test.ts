import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AttributeError } from '../../src/announce/bgp/attribute-error.ts';
import { decodeAttributes, encodeAttributes } from '../../src/announce/bgp/attributes.ts';
import { gobgp3, gobgp4 } from '../../src/announce/bgp/dialect.ts';
import { decodePrefix, encodePrefix } from '../../src/announce/bgp/nlri.ts';
import { addPathRequest, readListedPaths } from '../../src/announce/bgp/path-messages.ts';
import { readIdentity, readListedPeer, readPeerEvent } from '../../src/announce/bgp/peer-status.ts';
import { MessageError } from '../../src/announce/bgp/protobuf.ts';
import { parsePrefix } from '../../src/model/address.ts';
import type { BgpPath } from '../../src/model/bgp.ts';
import { formatAddressBytes } from '../../src/native/address-bytes.ts';

const number = fc.integer({ min: 0, max: 0xffffffff });

const address = (family: 4 | 6): fc.Arbitrary<string> => {
  const length = family === 4 ? 4 : 16;
  return fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => formatAddressBytes(bytes, family));
};

const prefix = (family: 4 | 6): fc.Arbitrary<string> =>
  fc.tuple(address(family), fc.integer({ min: 0, max: family === 4 ? 32 : 128 })).map(([host, length]) => {
    const parsed = parsePrefix(`${host}/${length}`)!;
    return `${parsed.address}/${parsed.prefix}`;
  });

const path: fc.Arbitrary<BgpPath> = fc.constantFrom(4 as const, 6 as const).chain((family) =>
  fc.record(
    {
      prefix: prefix(family),
      nextHop: address(family),
      communities: fc.array(number, { maxLength: 100 }),
      largeCommunities: fc.array(fc.tuple(number, number, number), { maxLength: 40 }),
      localPreference: number,
      med: number,
    },
    { requiredKeys: ['prefix', 'nextHop', 'communities', 'largeCommunities'], noNullPrototype: true },
  ),
);

const family = ({ prefix: text }: BgpPath): 4 | 6 => (text.includes(':') ? 6 : 4);

test('what is encoded is decoded as the same', () => {
  fc.assert(
    fc.property(path, (wanted) => {
      const { nextHop, communities, largeCommunities, med, localPreference, originAsn } = decodeAttributes(encodeAttributes(wanted));
      assert.deepEqual(
        { nextHop, communities, largeCommunities, med, localPreference, originAsn },
        {
          nextHop: wanted.nextHop,
          communities: wanted.communities,
          largeCommunities: wanted.largeCommunities,
          med: wanted.med,
          localPreference: wanted.localPreference,
          originAsn: undefined,
        },
      );
      assert.equal(decodePrefix(encodePrefix(wanted.prefix), family(wanted)), wanted.prefix);
    }),
  );
});

/** A length-delimited field around bytes. */
const wrapped = (field: number, bytes: Uint8Array): Uint8Array => {
  const length = [];
  for (let rest = bytes.length; ; rest >>= 7) {
    length.push(rest < 128 ? rest : (rest & 127) | 128);
    if (rest < 128) break;
  }
  return Uint8Array.of(field * 8 + 2, ...length, ...bytes);
};

/** The Path of an AddPathRequest, as a daemon would list it. */
const answered = (wanted: BgpPath): Uint8Array => {
  const request = addPathRequest(gobgp3, wanted);
  // Its first field is the path, as TableType 0 is not written.
  assert.equal(request[0], 3 * 8 + 2);
  let at = 1;
  while ((request[at]! & 128) !== 0) at += 1;
  return wrapped(1, wrapped(2, request.subarray(at + 1)));
};

test('what is added is listed as the same, and as ours', () => {
  fc.assert(
    fc.property(path, (wanted) => {
      const listed = readListedPaths(answered(wanted), family(wanted), true);
      assert.deepEqual(listed, [{ path: wanted, ours: true, neighbour: undefined, best: false }]);
    }),
  );
});

/** Bytes of a good message with some changed, left out or put in, and bytes that never were one. */
const damaged = (good: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.tuple(good, fc.nat(), fc.nat(), fc.uint8Array({ maxLength: 3 })).map(([bytes, from, count, instead]) => {
      const at = from % (bytes.length + 1);
      return Uint8Array.of(...bytes.subarray(0, at), ...instead, ...bytes.subarray(at + (count % 4)));
    }),
    fc.tuple(good, fc.nat()).map(([bytes, length]) => bytes.subarray(0, length % (bytes.length + 1))),
  );

/** Runs it; anything but one of the typed errors is a failure. */
function tolerated(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof MessageError || error instanceof AttributeError, String(error));
  }
}

test('random and damaged attributes and prefixes are read or refused by type', () => {
  const attributes = path.chain((wanted) => fc.constantFrom(...encodeAttributes(wanted)));
  fc.assert(
    fc.property(fc.array(damaged(attributes), { maxLength: 5 }), (list) => tolerated(() => decodeAttributes(list))),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(damaged(path.map((wanted) => encodePrefix(wanted.prefix))), fc.constantFrom(4 as const, 6 as const), (bytes, kind) =>
      tolerated(() => {
        const text = decodePrefix(bytes, kind);
        const parsed = parsePrefix(text)!;
        assert.equal(text, `${parsed.address}/${parsed.prefix}`, 'canonical');
      }),
    ),
    { numRuns: 3000 },
  );
});

test('random and damaged messages are read or refused by type', () => {
  fc.assert(
    fc.property(damaged(path.map(answered)), fc.boolean(), (bytes, sweep) =>
      tolerated(() => {
        for (const { path: read } of readListedPaths(bytes, 4, sweep)) {
          assert.ok(parsePrefix(read.prefix) !== undefined);
          assert.ok(read.communities.every((value) => Number.isInteger(value) && value >= 0 && value <= 0xffffffff));
        }
      }),
    ),
    { numRuns: 3000 },
  );
  // Fields at random, so that some of them are those that are looked at.
  const field = fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: 24 }), fc.uint8Array({ maxLength: 30 })).map(([name, value]) => wrapped(name, value)),
    fc
      .tuple(fc.integer({ min: 1, max: 24 }), fc.integer({ min: 0, max: 127 }))
      .map(([name, value]) => Uint8Array.of((name * 8) & 127, value)),
  );
  const message = fc.array(field, { maxLength: 6 }).map((list) => Uint8Array.from(list.flatMap((bytes) => [...bytes])));
  const nested = fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), message), { maxLength: 5 });
  const peer = nested.map((list) => wrapped(1, Uint8Array.from(list.flatMap(([name, bytes]) => [...wrapped(name, bytes)]))));
  fc.assert(
    fc.property(damaged(peer), (bytes) => {
      for (const dialect of [gobgp3, gobgp4]) tolerated(() => readListedPeer(bytes, dialect, true));
      tolerated(() => readPeerEvent(bytes));
      tolerated(() => readIdentity(bytes, 4));
    }),
    { numRuns: 3000 },
  );
});
