import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ProtocolError } from '../../src/native/errors.ts';
import {
  NO_STATISTICS,
  destinationIdAt,
  destinationKey,
  destinationKeyAt,
  destinationNumber,
  destinationNumberAt,
  serviceIdAt,
  serviceKey,
  serviceKeyAt,
  snapshotFromObjects,
  toObjects,
} from '../../src/native/ipvs-columns.ts';
import type { DestinationSpec, Service, ServiceId, ServiceSpec } from '../../src/native/ipvs-types.ts';
import { services } from './ipvs-arbitraries.ts';

function service(id: ServiceId, spec: ServiceSpec = { scheduler: 'wrr' }, destinations: Service['destinations'] = []): Service {
  return { id, spec, statistics: NO_STATISTICS, destinations };
}

function destination(address: string, port: number, spec: DestinationSpec): Service['destinations'][number] {
  return { id: { address, port }, spec, activeConnections: 0, inactiveConnections: 0, persistentConnections: 0, statistics: NO_STATISTICS };
}

test('toObjects(snapshotFromObjects(x)) is x', () => {
  fc.assert(
    fc.property(services, (given) => {
      assert.deepEqual(toObjects(snapshotFromObjects(given)), given);
    }),
    { numRuns: 500 },
  );
});

test('keys and ids of rows are those of the objects', () => {
  fc.assert(
    fc.property(services, (given) => {
      const snapshot = snapshotFromObjects(given);
      let next = 0;
      given.forEach((each, row) => {
        assert.deepEqual(serviceIdAt(snapshot, row), each.id);
        assert.equal(serviceKeyAt(snapshot, row), serviceKey(each.id));
        for (const { id } of each.destinations) {
          assert.deepEqual(destinationIdAt(snapshot, next), id);
          assert.equal(destinationKeyAt(snapshot, next), destinationKey(id));
          assert.equal(destinationNumberAt(snapshot, next), destinationNumber(id));
          next++;
        }
      });
      assert.equal(next, snapshot.destinations.count);
    }),
    { numRuns: 300 },
  );
});

test('serviceKey texts', () => {
  assert.equal(serviceKey({ protocol: 'tcp', address: '192.0.2.10', port: 80 }), 'tcp 192.0.2.10:80');
  assert.equal(serviceKey({ protocol: 'udp', address: '2001:db8::1', port: 53 }), 'udp [2001:db8::1]:53');
  assert.equal(serviceKey({ protocol: 'sctp', address: '192.0.2.10', port: 0 }), 'sctp 192.0.2.10:0');
  assert.equal(serviceKey({ fwmark: 7, family: 'ipv4' }), 'fwmark 7 ipv4');
});

test('destinationNumber orders and separates IPv4 destinations, and leaves IPv6 to text', () => {
  assert.equal(destinationNumber({ address: '0.0.0.1', port: 2 }), 65536 + 2);
  assert.equal(destinationNumber({ address: '255.255.255.255', port: 65535 }), 2 ** 48 - 1);
  assert.equal(destinationNumber({ address: '2001:db8::1', port: 80 }), -1);
  assert.equal(destinationNumber({ address: 'nonsense', port: 80 }), -1);
});

test('what equals the default is left out, whichever way it was given', () => {
  const given = service(
    { protocol: 'tcp', address: '192.0.2.10', port: 80 },
    { scheduler: 'mh', persistencePrefix: 32, onePacket: false, schedulerFlags: [], persistenceEngine: '' },
    [
      destination('10.0.0.1', 80, {
        forward: 'tunnel',
        weight: 1,
        upperThreshold: 0,
        lowerThreshold: 0,
        tunnel: { type: 'ipip', checksum: 'none' },
      }),
    ],
  );
  const [read] = toObjects(snapshotFromObjects([given]));
  assert.deepEqual(read?.spec, { scheduler: 'mh' });
  assert.deepEqual(read.destinations[0]?.spec, { forward: 'tunnel', weight: 1 });
});

test('scheduler flags come back ascending, whatever their order', () => {
  const [read] = toObjects(snapshotFromObjects([service({ fwmark: 1, family: 'ipv6' }, { scheduler: 'sh', schedulerFlags: [2, 1] })]));
  assert.deepEqual(read?.spec, { scheduler: 'sh', schedulerFlags: [1, 2] });
});

test('names are shared between rows and begin with the empty one', () => {
  const id = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const;
  const snapshot = snapshotFromObjects([service(id), service({ ...id, port: 81 }), service({ ...id, port: 82 }, { scheduler: 'rr' })]);
  assert.deepEqual(snapshot.names, ['', 'wrr', 'rr']);
});

test('an address that is none throws', () => {
  assert.throws(() => snapshotFromObjects([service({ protocol: 'tcp', address: '192.0.2.300', port: 80 })]), TypeError);
});

test('a row that is not there throws', () => {
  const snapshot = snapshotFromObjects([]);
  assert.throws(() => serviceIdAt(snapshot, 0), RangeError);
  assert.throws(() => destinationIdAt(snapshot, -1), RangeError);
});

test('numbers the kernel should not send are a ProtocolError, not a guess', () => {
  const given = [
    service({ protocol: 'tcp', address: '192.0.2.10', port: 80 }, { scheduler: 'rr' }, [
      destination('10.0.0.1', 80, { forward: 'tunnel', weight: 1 }),
    ]),
  ];
  const protocol = snapshotFromObjects(given);
  protocol.services.protocol[0] = 1;
  assert.throws(() => toObjects(protocol), ProtocolError);
  const forward = snapshotFromObjects(given);
  forward.destinations.forward[0] = 4;
  assert.throws(() => toObjects(forward), ProtocolError);
  const tunnel = snapshotFromObjects(given);
  tunnel.destinations.tunnelType[0] = 9;
  assert.throws(() => toObjects(tunnel), ProtocolError);
});
