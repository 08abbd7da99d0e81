/** Routes that stand for VIPs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { GRACEFUL_SHUTDOWN, hostOf, hostPrefix, Routing, routes, samePath, shuttingDown } from '../../src/desired/bgp.ts';
import { parsePrefix, prefixContains } from '../../src/model/address.ts';
import type { BgpConfig, BgpPath, RouteAttributes, RouteOptions } from '../../src/model/bgp.ts';

const plain: RouteOptions = { attributes: { communities: [], largeCommunities: [] }, nextHop: {}, prefixLength: { 4: 32, 6: 128 } };
const named = (entries: [string, Partial<RouteAttributes>][]): BgpConfig => ({ routes: new Map(entries) });
const pathOf = (vips: string[], options: RouteOptions, config?: BgpConfig): BgpPath => {
  const [route, ...more] = routes(vips, new Routing(options, config)).values();
  assert.ok(route !== undefined && more.length === 0, 'one route');
  return route.path;
};

describe('one VIP', () => {
  test('is a host route with the next hop left to the daemon', () => {
    assert.deepEqual(pathOf(['192.0.2.10'], plain), {
      ...{ prefix: '192.0.2.10/32', nextHop: '0.0.0.0', communities: [], largeCommunities: [] },
    });
    assert.deepEqual(pathOf(['2001:db8::10'], plain), {
      ...{ prefix: '2001:db8::10/128', nextHop: '::', communities: [], largeCommunities: [] },
    });
  });

  test('takes the next hop of its own family only', () => {
    const options = { ...plain, nextHop: { 4: '10.0.0.1' } };
    assert.equal(pathOf(['192.0.2.10'], options).nextHop, '10.0.0.1');
    assert.equal(pathOf(['2001:db8::10'], options).nextHop, '::');
  });

  test('says what the flags say: communities in ascending order, each once', () => {
    const attributes = {
      communities: [200, 100, 200],
      largeCommunities: [
        [2, 0, 1],
        [1, 9, 9],
        [2, 0, 1],
      ] as const,
      localPreference: 50,
      med: 7,
    };
    assert.deepEqual(pathOf(['192.0.2.10'], { ...plain, attributes }), {
      ...{ prefix: '192.0.2.10/32', nextHop: '0.0.0.0', communities: [100, 200] },
      ...{
        largeCommunities: [
          [1, 9, 9],
          [2, 0, 1],
        ],
        localPreference: 50,
        med: 7,
      },
    });
  });

  test('adds communities of its own, and has its own preference and MED instead', () => {
    const attributes = { communities: [100], largeCommunities: [], localPreference: 50, med: 7 };
    const config = named([['192.0.2.10', { communities: [90, 100], largeCommunities: [[1, 2, 3]], med: 0 }]]);
    assert.deepEqual(pathOf(['192.0.2.10'], { ...plain, attributes }, config), {
      ...{
        prefix: '192.0.2.10/32',
        nextHop: '0.0.0.0',
        communities: [90, 100],
        largeCommunities: [[1, 2, 3]],
        localPreference: 50,
        med: 0,
      },
    });
  });

  test('does not say what the configuration says for another', () => {
    assert.deepEqual(pathOf(['192.0.2.10'], plain, named([['192.0.2.11', { med: 1, communities: [5] }]])), pathOf(['192.0.2.10'], plain));
  });

  test('of no family is refused', () => {
    assert.throws(() => new Routing(plain, undefined).prefixOf('192.0.2'), RangeError);
  });
});

describe('an aggregate', () => {
  const options: RouteOptions = {
    ...plain,
    attributes: { communities: [1], largeCommunities: [], localPreference: 100 },
    prefixLength: { 4: 24, 6: 64 },
  };

  test('stands for all VIPs within, of its family', () => {
    const found = routes(['192.0.2.9', '192.0.2.200', '198.51.100.1', '2001:db8::1', '2001:db8:0:1::1'], new Routing(options, undefined));
    assert.deepEqual(
      [...found].map(([prefix, { vips }]) => [prefix, vips]),
      [
        ['192.0.2.0/24', ['192.0.2.9', '192.0.2.200']],
        ['198.51.100.0/24', ['198.51.100.1']],
        ['2001:db8::/64', ['2001:db8::1']],
        ['2001:db8:0:1::/64', ['2001:db8:0:1::1']],
      ],
    );
  });

  test('bears the communities of all of them, the lowest preference and the highest MED', () => {
    const config = named([
      ['192.0.2.1', { communities: [3], localPreference: 200, med: 10 }],
      ['192.0.2.2', { communities: [2], localPreference: 150, med: 20 }],
    ]);
    const both = pathOf(['192.0.2.1', '192.0.2.2'], options, config);
    assert.deepEqual([both.communities, both.localPreference, both.med], [[1, 2, 3], 150, 20]);
    // One that the configuration does not name has what the flags say.
    const three = pathOf(['192.0.2.1', '192.0.2.2', '192.0.2.3'], options, config);
    assert.deepEqual([three.communities, three.localPreference, three.med], [[1, 2, 3], 100, 20]);
  });

  test('does not bear what is said for a VIP that is not announced', () => {
    const config = named([['192.0.2.1', { communities: [3], localPreference: 1 }]]);
    assert.deepEqual(pathOf(['192.0.2.2'], options, config), pathOf(['192.0.2.2'], options));
  });
});

test('the address of a host route, and of no other', () => {
  assert.equal(hostOf('192.0.2.1/32'), '192.0.2.1');
  assert.equal(hostOf('2001:db8::1/128'), '2001:db8::1');
  for (const prefix of ['192.0.2.0/24', '2001:db8::/32', '2001:db8::/64']) assert.equal(hostOf(prefix), undefined);
  assert.equal(hostPrefix('192.0.2.1'), '192.0.2.1/32');
  assert.equal(hostPrefix('2001:db8::1'), '2001:db8::1/128');
});

const number = fc.nat(4);
const attributes = fc.record(
  {
    communities: fc.array(number, { maxLength: 3 }),
    largeCommunities: fc.array(fc.tuple(number, number, number), { maxLength: 3 }),
    localPreference: number,
    med: number,
  },
  { requiredKeys: ['communities', 'largeCommunities'] },
);
const address = fc.oneof(
  fc.tuple(fc.nat(3), fc.nat(255)).map(([third, fourth]) => `192.0.${third}.${fourth}`),
  fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })).map(([net, host]) => `2001:db8:${net}::${host}`),
);
const options = fc.record({
  attributes,
  nextHop: fc.constantFrom<RouteOptions['nextHop']>({}, { 4: '10.0.0.1' }, { 6: '2001:db8::ffff' }),
  prefixLength: fc.record({ 4: fc.integer({ min: 1, max: 32 }), 6: fc.integer({ min: 1, max: 128 }) }),
});
const configured = fc
  .array(fc.tuple(address, fc.record({ communities: fc.array(number), localPreference: number, med: number }, { requiredKeys: [] })), {
    maxLength: 6,
  })
  .map((entries): BgpConfig => ({ routes: new Map(entries) }));

test('whatever is announced: each VIP is in one route, a route has VIPs, and order does not matter', () => {
  fc.assert(
    fc.property(options, configured, fc.uniqueArray(address, { maxLength: 12 }), (flags, config, vips) => {
      const routing = new Routing(flags, config);
      const found = routes(vips, routing);
      assert.deepEqual([...found.values()].flatMap((route) => route.vips).sort(), [...vips].sort());
      for (const [prefix, { path, vips: within }] of found) {
        const parsed = parsePrefix(prefix)!;
        assert.equal(`${parsed.address}/${parsed.prefix}`, prefix, 'host bits are zero, and the text is canonical');
        assert.equal(path.prefix, prefix);
        for (const vip of vips) assert.equal(within.includes(vip), prefixContains(parsed, vip));
        assert.deepEqual(
          path.communities,
          [...new Set(path.communities)].sort((a, b) => a - b),
        );
        for (const community of flags.attributes.communities) assert.ok(path.communities.includes(community));
        for (const vip of within) for (const own of config.routes.get(vip)?.communities ?? []) assert.ok(path.communities.includes(own));
        assert.deepEqual(path, routing.path(prefix, new Set([...within].reverse())));
      }
      const turned = routes([...vips].reverse(), routing);
      for (const [prefix, route] of found) assert.deepEqual(turned.get(prefix), route);
      assert.equal(turned.size, found.size);
    }),
    { numRuns: 2000 },
  );
});

const path: fc.Arbitrary<BgpPath> = attributes.map((some) => ({ prefix: '192.0.2.1/32', nextHop: '0.0.0.0', ...some }));

test('a route on its way out says so, is the last choice, and otherwise the same', () => {
  fc.assert(
    fc.property(path, (one) => {
      const leaving = shuttingDown(one);
      assert.equal(leaving.localPreference, 0);
      assert.deepEqual(new Set(leaving.communities), new Set([...one.communities, GRACEFUL_SHUTDOWN]));
      assert.deepEqual(
        [leaving.prefix, leaving.nextHop, leaving.med, leaving.largeCommunities],
        [one.prefix, one.nextHop, one.med, one.largeCommunities],
      );
      assert.ok(samePath(shuttingDown(leaving), leaving));
      assert.ok(!samePath(one, leaving));
    }),
  );
  // RFC 8326 section 4: 65535:0.
  assert.deepEqual([GRACEFUL_SHUTDOWN >>> 16, GRACEFUL_SHUTDOWN & 0xffff], [65535, 0]);
});

test('the order of communities means nothing, everything else does', () => {
  fc.assert(
    fc.property(path, (one) => {
      const turned = { ...one, communities: [...one.communities].reverse(), largeCommunities: [...one.largeCommunities].reverse() };
      assert.ok(samePath(one, turned));
      assert.ok(!samePath(one, { ...one, communities: [...one.communities, 77] }));
      assert.ok(!samePath(one, { ...one, largeCommunities: [...one.largeCommunities, [7, 7, 7]] }));
      assert.ok(!samePath(one, { ...one, nextHop: '10.9.9.9' }));
      assert.ok(!samePath(one, { ...one, prefix: '192.0.2.2/32' }));
      assert.ok(!samePath(one, { ...one, med: (one.med ?? 0) + 1 }));
      assert.ok(!samePath(one, { ...one, localPreference: (one.localPreference ?? 0) + 1 }));
    }),
  );
  const { med: _, ...without } = { ...shuttingDown({ prefix: 'a/32', nextHop: 'b', communities: [], largeCommunities: [] }), med: 0 };
  assert.ok(!samePath(without, { ...without, med: 0 }), 'no MED is not MED 0');
});
