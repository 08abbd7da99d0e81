import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { deviceMtu, narrowPaths, overheadOf, segments, tunnelOverhead, type Way } from '../../src/diff/path-mtu.ts';

const VIP = '192.0.2.10';
const VIP6 = '2001:db8::10';

function way(address: string, forward: Way['forward'], rest: Partial<Way> = {}): Way {
  return { address, protocol: 'tcp', forward, ...rest };
}

suite('what a tunnel adds', () => {
  for (const [type, four, six] of [
    ['ipip', 20, 40],
    ['gue', 32, 52],
    ['gre', 24, 44],
  ] as const) {
    test(`${type}: ${four} bytes over IPv4, ${six} over IPv6`, () => {
      assert.deepEqual([tunnelOverhead(type, VIP), tunnelOverhead(type, VIP6)], [four, six]);
    });
  }

  test('nothing without a tunnel; IP in IP where the kind is not said', () => {
    assert.deepEqual([overheadOf(way(VIP, 'direct')), overheadOf(way(VIP, 'masquerade')), overheadOf(way(VIP, 'tunnel'))], [0, 0, 20]);
  });
});

suite('segments of clients', () => {
  const facingMtu = 1500;
  const of = (ways: Way[], mtu: [string, number][] = [], facing = facingMtu) =>
    Object.fromEntries(segments({ virtualServices: ways, mtu: new Map(mtu), facingMtu: facing }));

  test('a tunnel takes its overhead from them', () => {
    assert.deepEqual(of([way(VIP, 'tunnel'), way(VIP6, 'tunnel', { tunnel: { type: 'gue', port: 6080 } })]), {
      [VIP]: 1500 - 20 - 40,
      [VIP6]: 1500 - 52 - 60,
    });
  });

  test('the widest of several tunnels of a VIP counts', () => {
    const ways = [way(VIP, 'tunnel'), way(VIP, 'tunnel', { tunnel: { type: 'gue', port: 6080 } }), way(VIP, 'direct')];
    assert.deepEqual(of(ways), { [VIP]: 1500 - 32 - 40 });
  });

  test('a VIP that is told nothing new is not named: direct, masqueraded, UDP alone, or wide enough', () => {
    assert.deepEqual(of([way(VIP, 'direct')]), {});
    assert.deepEqual(of([way(VIP, 'masquerade')], [[VIP, 1500]]), {});
    assert.deepEqual(of([way(VIP, 'tunnel', { protocol: 'udp' })]), {});
    assert.deepEqual(of([way(VIP, 'direct')], [[VIP, 9000]]), {});
    assert.deepEqual(of([way(VIP, 'direct')], [[VIP, 1500]]), {});
  });

  test('the MTU of a VIP counts where it is the smaller one', () => {
    assert.deepEqual(of([way(VIP, 'direct')], [[VIP, 1500]], 9000), { [VIP]: 1460 });
    assert.deepEqual(of([way(VIP, 'tunnel')], [[VIP, 1500]], 9000), { [VIP]: 1460 });
    assert.deepEqual(of([way(VIP, 'tunnel')], [[VIP, 9000]], 9000), { [VIP]: 9000 - 20 - 40 });
  });
});

suite('nodes that are too narrow', () => {
  const paths = [
    { node: 'n1', address: '10.0.0.1', mtu: 1500 },
    { node: 'n1', address: '2001:db8::1', mtu: 1500 },
    { node: 'n2', address: '10.0.0.2', mtu: 1520 },
  ];
  const of = (ways: Way[], mtu: [string, number][] = []) =>
    narrowPaths({ virtualServices: ways, mtu: new Map(mtu), facingMtu: 1500, paths }).map(({ node, vip, needed }) => [node, vip, needed]);

  test('a full-sized packet of the segment does not fit through a tunnel of the same size', () => {
    assert.deepEqual(of([way(VIP, 'tunnel')]), [['n1', VIP, 1520]]);
  });

  test('one byte less is too little, the exact size is enough', () => {
    assert.deepEqual(of([way(VIP, 'tunnel', { tunnel: { type: 'gre' } })]), [
      ['n1', VIP, 1524],
      ['n2', VIP, 1524],
    ]);
  });

  test('each family by itself, and the VIP that needs most is named', () => {
    assert.deepEqual(of([way(VIP, 'direct'), way(VIP6, 'tunnel')]), [['n1', VIP6, 1540]]);
    const ways = [way('192.0.2.9', 'tunnel'), way(VIP, 'tunnel', { tunnel: { type: 'gue', port: 1 } })];
    assert.deepEqual(
      of(ways).map(([, vip]) => vip),
      [VIP, VIP],
    );
  });

  test('without a tunnel only an MTU that was asked for can be too large; masquerading leads to pods', () => {
    assert.deepEqual(of([way(VIP, 'direct')]), []);
    assert.deepEqual(of([way(VIP, 'masquerade')], [[VIP, 9000]]), []);
    assert.deepEqual(
      of([way(VIP, 'direct')], [[VIP, 9000]]).map(([node]) => node),
      ['n1', 'n2'],
    );
  });
});

test('the device takes the largest MTU of the VIPs on it, and keeps its own where none is asked for', () => {
  const mtu = new Map([
    [VIP, 1500],
    ['192.0.2.11', 9000],
  ]);
  assert.equal(deviceMtu([VIP, '192.0.2.11'], mtu), 9000);
  assert.equal(deviceMtu([VIP], mtu), 1500);
  assert.equal(deviceMtu(['192.0.2.12'], mtu), undefined);
});
