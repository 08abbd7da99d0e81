import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asWritten, ObservedServices } from '../../src/diff/ipvs-observed.ts';
import { NO_STATISTICS, snapshotFromObjects } from '../../src/native/ipvs-columns.ts';
import type { Destination, DestinationSpec, Service } from '../../src/native/ipvs-types.ts';

const destination = (
  address: string,
  rest: Partial<DestinationSpec> & { port?: number; active?: number; inactive?: number } = {},
): Destination => {
  const { port = 80, active = 0, inactive = 0, ...spec } = rest;
  return {
    ...{ id: { address, port }, spec: { forward: 'direct', weight: 1, ...spec } },
    ...{ activeConnections: active, inactiveConnections: inactive, persistentConnections: 0, statistics: NO_STATISTICS },
  };
};
const service = (address: string, destinations: readonly Destination[], spec: Service['spec'] = { scheduler: 'wrr' }): Service => ({
  ...{ id: { protocol: 'tcp', address, port: 80 }, spec, statistics: NO_STATISTICS, destinations },
});

test('weights and connections by address, of either family', () => {
  const services = new ObservedServices(
    snapshotFromObjects([
      service('10.50.0.1', [destination('10.20.0.1', { weight: 3, active: 2, inactive: 5 }), destination('10.20.0.2', { weight: 0 })]),
      service('10.50.0.2', [destination('10.20.0.1', { forward: 'tunnel' })]),
      service('2001:db8::1', [destination('2001:db8:20::1'), destination('2001:db8:20::2', { active: 1 })]),
    ]),
  );
  const destinations = (key: string) => services.sight(key).observed;
  assert.deepEqual([...destinations('tcp 10.50.0.1:80')].sort(), [
    ['10.20.0.1', { weight: 3, connections: 7 }],
    ['10.20.0.2', { weight: 0, connections: 0 }],
  ]);
  assert.deepEqual([...destinations('tcp 10.50.0.2:80')], [['10.20.0.1', { weight: 1, connections: 0 }]]);
  assert.deepEqual(new Map(destinations('tcp [2001:db8::1]:80')).get('2001:db8:20::2'), { weight: 1, connections: 1 });
  assert.equal(destinations('tcp [2001:db8::1]:80').size, 2);
  assert.equal(destinations('udp 10.50.0.1:80').size, 0);
});

test('what the agent never writes is not there for it, and makes a service that of somebody else', () => {
  const services = new ObservedServices(
    snapshotFromObjects([
      service('10.50.0.1', [destination('10.20.0.1', { port: 81 }), destination('10.20.0.2')]),
      service('10.50.0.2', [destination('10.20.0.1'), destination('10.20.0.2', { forward: 'local' })]),
      service('10.50.0.3', [destination('10.20.0.1')], { scheduler: 'wrr', persistenceSeconds: 60, persistenceEngine: 'sip' }),
    ]),
  );
  const seen = (key: string) => [[...services.sight(key).observed.keys()], services.sight(key).foreign];
  assert.deepEqual(seen('tcp 10.50.0.1:80'), [['10.20.0.2'], false], 'another port');
  assert.deepEqual(seen('tcp 10.50.0.2:80'), [['10.20.0.1'], true], 'a destination of a foreign kind');
  assert.deepEqual(seen('tcp 10.50.0.3:80'), [['10.20.0.1'], true], 'a service of a foreign kind');
});

test('what the agent does write is its own: pods on any port, persistence, datagrams one by one', () => {
  const pods = [
    destination('10.50.1.2', { forward: 'masquerade', port: 8080, weight: 1, active: 2 }),
    destination('10.50.1.2', { forward: 'masquerade', port: 80 }),
  ];
  const services = new ObservedServices(
    snapshotFromObjects([
      service('10.50.0.1', [...pods, destination('10.50.1.2')]),
      service('10.50.0.2', [], { scheduler: 'wrr', persistenceSeconds: 60, onePacket: true }),
      service('2001:db8::1', [destination('2001:db8:50::2', { forward: 'masquerade', port: 8080 })]),
    ]),
  );
  assert.deepEqual(
    [...services.sight('tcp 10.50.0.1:80').observed],
    [
      ['10.50.1.2 8080', { weight: 1, connections: 2 }],
      ['10.50.1.2 80', { weight: 1, connections: 0 }],
      ['10.50.1.2', { weight: 1, connections: 0 }],
    ],
  );
  assert.deepEqual([...services.sight('tcp [2001:db8::1]:80').observed.keys()], ['2001:db8:50::2 8080']);
  for (const address of ['10.50.0.1', '10.50.0.2']) assert.equal(services.sight(`tcp ${address}:80`).foreign, false);
});

test('nobody counts connections of what was only written', () => {
  const id = { protocol: 'tcp', address: '10.50.0.1', port: 80 } as const;
  const written = asWritten({
    ...{ key: 'tcp 10.50.0.1:80', id, spec: { scheduler: 'wrr' } },
    destinations: [{ id: { address: '10.20.0.1', port: 80 }, spec: { forward: 'direct', weight: 2 } }],
  });
  assert.deepEqual([...written.observed], [['10.20.0.1', { weight: 2, connections: undefined }]]);
  assert.equal(asWritten(undefined).observed.size, 0);
});
