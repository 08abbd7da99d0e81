/** `bgp` of the configuration: what is understood, what is refused and where, and when it counts as a change. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { configurationJsonSchema } from '../../src/model/config-schema.ts';
import type { ClusterState } from '../../src/model/cluster.ts';
import { publish } from '../../src/model/publish.ts';
import { withFlags } from '../../src/desired/bgp-config.ts';
import { read } from './model-input.ts';

const input = (bgp: unknown, carrier: 'config' | 'cluster' = 'config'): string =>
  JSON.stringify({
    ...(carrier === 'cluster' ? { nodes: [], services: [{ namespace: 'shop', name: 'api', ports: [{ name: 'http', port: 80 }] }] } : {}),
    config: { '192.0.2.10': { '80': { namespace: 'shop', service: 'api', portName: 'http' } } },
    bgp,
  });

const stateOf = (bgp: unknown): ClusterState => {
  const { state, errors } = read(input(bgp), { carrier: 'config' });
  assert.deepEqual(errors, []);
  assert.ok(state);
  return state;
};
const errorsOf = (bgp: unknown): string[] =>
  read(input(bgp), { carrier: 'config' }).errors.map(({ path, message }) => `${path}: ${message}`);

const peer = { address: '10.0.0.1', asn: 65001 };

test('all of it, in both carriers', () => {
  const bgp = {
    ...{ asn: 65000, routerId: '10.0.0.2', listenPort: 1790 },
    peers: [
      {
        ...{ address: '2001:0DB8::1', asn: 4_294_967_294, multihop: 3, passwordFile: '/etc/bgp/password', holdSeconds: 9 },
        ...{ keepaliveSeconds: 3, connectRetrySeconds: 5, passive: true, gracefulRestartSeconds: 120, families: [6, 4] },
        bfd: { transmitMilliseconds: 100, multiplier: 5 },
      },
      { ...peer, bfd: {} },
    ],
    vips: { '192.0.2.10': { communities: ['65000:2', 'no-export', '65000:1:2', '65000:1'], localPreference: 0, med: 4_294_967_295 } },
  };
  const expected = {
    speaker: { asn: 65000, routerId: '10.0.0.2', listenPort: 1790 },
    peers: [
      { address: '10.0.0.1', asn: 65001, bfd: { transmitMilliseconds: 300, receiveMilliseconds: 300, multiplier: 3 } },
      {
        ...{ address: '2001:db8::1', asn: 4_294_967_294, multihop: 3, passwordFile: '/etc/bgp/password', holdSeconds: 9 },
        ...{ keepaliveSeconds: 3, connectRetrySeconds: 5, passive: true, gracefulRestartSeconds: 120, families: [4, 6] },
        bfd: { transmitMilliseconds: 100, receiveMilliseconds: 100, multiplier: 5 },
      },
    ],
    routes: new Map([
      [
        '192.0.2.10',
        {
          communities: [65000 * 65536 + 1, 65000 * 65536 + 2, 0xffffff01],
          ...{ largeCommunities: [[65000, 1, 2]], localPreference: 0, med: 4_294_967_295 },
        },
      ],
    ]),
  };
  for (const carrier of ['config', 'cluster'] as const)
    assert.deepEqual(read(input(bgp, carrier), { carrier }).state?.bgp, expected, carrier);
});

test('absent and empty are not the same: who names no neighbours leaves them alone', () => {
  assert.equal(stateOf(undefined).bgp, undefined);
  assert.equal(stateOf(null).bgp, undefined);
  assert.deepEqual(stateOf({}).bgp, { routes: new Map() });
  assert.deepEqual(stateOf({ peers: [] }).bgp, { peers: [], routes: new Map() });
});

test('keys in other letter case are warned about, as everywhere, also inside', () => {
  const bgp = { Peers: [{ ...peer, HoldSeconds: 30, BFD: { Multiplier: 4 } }], VIPs: { '192.0.2.10': { MED: 5 } } };
  const { state, warnings } = read(input(bgp), { carrier: 'config' });
  assert.equal(state?.bgp?.peers?.[0]?.holdSeconds, 30);
  assert.equal(state.bgp.peers[0].bfd?.multiplier, 4);
  assert.deepEqual(state.bgp.routes.get('192.0.2.10'), { med: 5 });
  assert.equal(warnings.filter(({ path }) => path.startsWith('bgp')).length, 6);
});

suite('what is wrong is refused at its path', () => {
  const cases: readonly (readonly [what: string, bgp: unknown, ...messages: RegExp[]])[] = [
    ['no map', [], /^bgp: must be a map$/],
    ['an unknown key', { peer: [] }, /^bgp\.peer: unknown key, did you mean "peers"\?$/],
    ['peers as a map', { peers: {} }, /^bgp\.peers: must be a list$/],
    ['a system of its own without a router ID', { asn: 65000 }, /^bgp\.asn: needs routerId/],
    ['a router ID alone', { routerId: '10.0.0.1' }, /^bgp\.routerId: needs asn/],
    ['a port alone', { listenPort: 179 }, /^bgp\.listenPort: needs asn and routerId/],
    ['port 0', { asn: 1, routerId: '10.0.0.1', listenPort: 0 }, /^bgp\.listenPort: a port is 1 to 65535, or -1/],
    ['a router ID of IPv6', { asn: 1, routerId: '2001:db8::1' }, /^bgp\.routerId: a router ID is written as an IPv4 address/],
    ['system 0', { asn: 0, routerId: '10.0.0.1' }, /^bgp\.asn: an autonomous system is a number from 1 to 4294967294/],
    ['the last system', { asn: 4_294_967_295, routerId: '10.0.0.1' }, /^bgp\.asn: an autonomous system/],
    ['a system in a text', { peers: [{ ...peer, asn: '65001' }] }, /^bgp\.peers\[0\]\.asn: /],
    ['half a system', { peers: [{ ...peer, asn: 1.5 }] }, /^bgp\.peers\[0\]\.asn: must be a whole number/],
    ['no address', { peers: [{ asn: 1 }] }, /^bgp\.peers\[0\]\.address: is missing$/],
    ['no system', { peers: [{ address: '10.0.0.1' }] }, /^bgp\.peers\[0\]\.asn: is missing$/],
    ['a name for an address', { peers: [{ ...peer, address: 'router' }] }, /^bgp\.peers\[0\]\.address: not an IP address$/],
    ['a link-local neighbour', { peers: [{ ...peer, address: 'fe80::1' }] }, /^bgp\.peers\[0\]\.address: .*link-local/],
    ['a neighbour twice', { peers: [peer, { ...peer, asn: 2 }] }, /^bgp\.peers\[1\]\.address: the neighbour 10\.0\.0\.1 is listed twice$/],
    ['a VIP as neighbour', { peers: [{ ...peer, address: '192.0.2.10' }] }, /^bgp\.peers\[0\]\.address: 192\.0\.2\.10 is a VIP/],
    [
      'an unknown option',
      { peers: [{ ...peer, holdSecond: 9 }] },
      /^bgp\.peers\[0\]\.holdSecond: unknown key, did you mean "holdSeconds"\?$/,
    ],
    ['a password in the open', { peers: [{ ...peer, password: 'secret' }] }, /^bgp\.peers\[0\]\.password: unknown key/],
    ['a relative file', { peers: [{ ...peer, passwordFile: 'password' }] }, /^bgp\.peers\[0\]\.passwordFile: is the absolute path/],
    ['0 hops', { peers: [{ ...peer, multihop: 0 }] }, /^bgp\.peers\[0\]\.multihop: a number of hops is a whole number from 1 to 255$/],
    ['256 hops', { peers: [{ ...peer, multihop: 256 }] }, /multihop/],
    ['a hold time of 2', { peers: [{ ...peer, holdSeconds: 2 }] }, /^bgp\.peers\[0\]\.holdSeconds: a hold time is 0, or 3 to 65535/],
    ['keepalives too rare', { peers: [{ ...peer, keepaliveSeconds: 90 }] }, /^bgp\.peers\[0\]\.keepaliveSeconds: must be below/],
    ['keepalives for ever', { peers: [{ ...peer, holdSeconds: 0, keepaliveSeconds: 1 }] }, /keepaliveSeconds: .*has none$/],
    ['a restart too long', { peers: [{ ...peer, gracefulRestartSeconds: 4096 }] }, /gracefulRestartSeconds: .* from 1 to 4095$/],
    [
      'BFD too fast',
      { peers: [{ ...peer, bfd: { transmitMilliseconds: 9 } }] },
      /^bgp\.peers\[0\]\.bfd\.transmitMilliseconds: .* 10 to 60000$/,
    ],
    ['BFD too slow', { peers: [{ ...peer, bfd: { receiveMilliseconds: 60_001 } }] }, /receiveMilliseconds: .* 10 to 60000$/],
    ['one packet', { peers: [{ ...peer, bfd: { multiplier: 1 } }] }, /multiplier: a multiplier is a whole number from 2 to 50$/],
    ['51 packets', { peers: [{ ...peer, bfd: { multiplier: 51 } }] }, /multiplier/],
    ['no family', { peers: [{ ...peer, families: [] }] }, /^bgp\.peers\[0\]\.families: families are a list of 4 and 6$/],
    ['family 5', { peers: [{ ...peer, families: [5] }] }, /^bgp\.peers\[0\]\.families\[0\]: a family is 4 or 6$/],
    ['a family twice', { peers: [{ ...peer, families: [4, 4] }] }, /families: a family is named twice$/],
    ['vips as a list', { vips: [] }, /^bgp\.vips: must be a map from VIPs/],
    ['a VIP that is none', { vips: { web: {} } }, /^bgp\.vips\.web: "web" is not an IP address$/],
    [
      'a community out of range',
      { vips: { '192.0.2.10': { communities: ['65536:1'] } } },
      /^bgp\.vips\."192\.0\.2\.10"\.communities\[0\]: .*65536 is above 65535/,
    ],
    ['a community of four', { vips: { '192.0.2.10': { communities: ['1:2:3:4'] } } }, /communities\[0\]: .*more than three/],
    ['a community that is a number', { vips: { '192.0.2.10': { communities: [5] } } }, /communities\[0\]: /],
    ['an unknown word', { vips: { '192.0.2.10': { communities: ['no-exports'] } } }, /did you mean "no-export"\?/],
    ['a negative MED', { vips: { '192.0.2.10': { med: -1 } } }, /^bgp\.vips\."192\.0\.2\.10"\.med: it is a whole number from 0 to/],
    ['a preference too big', { vips: { '192.0.2.10': { localPreference: 4_294_967_296 } } }, /localPreference: /],
    [
      'several things',
      { asn: 1, peers: [{}], vips: { x: {} } },
      /^bgp\.asn/,
      /^bgp\.peers\[0\]\.address/,
      /^bgp\.peers\[0\]\.asn/,
      /^bgp\.vips\.x/,
    ],
  ];
  for (const [what, bgp, ...messages] of cases)
    test(what, () => {
      const errors = errorsOf(bgp);
      assert.equal(errors.length, messages.length, errors.join('\n'));
      messages.forEach((message, index) => assert.match(errors[index] ?? '', message));
      assert.equal(read(input(bgp), { carrier: 'config' }).state, undefined);
    });
});

test('a route to an address that is no VIP harms nobody; one VIP twice does', () => {
  const { state, warnings } = read(input({ vips: { '192.0.2.99': { med: 1 } } }), { carrier: 'config' });
  assert.deepEqual(state?.bgp, { routes: new Map() });
  assert.ok(warnings.some(({ path }) => path === 'bgp.vips."192.0.2.99"'));
  const twice = `{"config6":{"2001:db8::10":{}},"bgp":{"vips":{"2001:db8::10":{"med":1},"2001:0db8::10":{"med":2}}}}`;
  assert.deepEqual(
    read(twice, { carrier: 'config' }).errors.map(({ message }) => message),
    ['the route to 2001:db8::10 is written twice'],
  );
});

test('a change of it is a change of everything; the same in another order is none, and stays the same object', () => {
  const before = stateOf({ peers: [peer, { address: '10.0.0.9', asn: 1 }], vips: { '192.0.2.10': { communities: ['1:2', '1:1'] } } });
  const same = stateOf({ vips: { '192.0.2.10': { communities: ['1:1', '1:2', '1:1'] } }, peers: [{ asn: 1, address: '10.0.0.9' }, peer] });
  const unchanged = publish(before, same);
  assert.deepEqual(unchanged.change, { all: false, virtualServices: new Set() });
  assert.equal(unchanged.state.bgp, before.bgp);
  for (const other of [
    undefined,
    {},
    {
      peers: [
        { ...peer, holdSeconds: 9 },
        { address: '10.0.0.9', asn: 1 },
      ],
      vips: { '192.0.2.10': { communities: ['1:2', '1:1'] } },
    },
    { peers: [peer, { address: '10.0.0.9', asn: 1 }], vips: { '192.0.2.10': { communities: ['1:2'] } } },
  ]) {
    const { state, change } = publish(before, stateOf(other));
    assert.deepEqual(change, { all: true });
    assert.deepEqual(state.bgp, stateOf(other).bgp);
    assert.equal(state.virtualServices, before.virtualServices, 'nothing else has changed');
  }
});

test('the JSON Schema has it', () => {
  const schema = configurationJsonSchema() as {
    properties: { bgp: { properties: Record<string, unknown>; additionalProperties: unknown } };
  };
  assert.deepEqual(Object.keys(schema.properties.bgp.properties).sort(), ['asn', 'listenPort', 'peers', 'routerId', 'vips']);
  assert.equal(schema.properties.bgp.additionalProperties, false);
});

test('flags and configuration together: the configuration goes first, neighbour by neighbour', () => {
  const flags = {
    speaker: { asn: 1, routerId: '10.0.0.1' },
    peers: [
      { address: '10.0.0.1', asn: 1 },
      { address: '10.0.0.3', asn: 3 },
    ],
  };
  const config = {
    speaker: { asn: 2, routerId: '10.0.0.2' },
    peers: [{ address: '10.0.0.1', asn: 2 }],
    routes: new Map([['192.0.2.10', { med: 1 }]]),
  };
  assert.deepEqual(withFlags(flags, config), {
    ...config,
    peers: [
      { address: '10.0.0.1', asn: 2 },
      { address: '10.0.0.3', asn: 3 },
    ],
  });
  assert.deepEqual(withFlags(flags, undefined), { ...flags, routes: new Map() });
  assert.deepEqual(withFlags({}, config), config);
  assert.deepEqual(withFlags({}, undefined), { routes: new Map() }, 'nobody names neighbours: they are left alone');
  assert.deepEqual(withFlags({}, { peers: [], routes: new Map() }).peers, [], 'none at all is something else');
});
