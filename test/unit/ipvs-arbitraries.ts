/** Random IPVS objects in the canonical form that toObjects() gives: defaults left out. */
import fc from 'fast-check';
import { formatAddressBytes } from '../../src/native/address-bytes.ts';
import type { Destination, DestinationSpec, Service, ServiceId, ServiceSpec, Statistics } from '../../src/native/ipvs-types.ts';

const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });

/** IPv6 bytes with many zeros, where the printer has choices to make. */
const sparse = fc.array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 255 })), {
  minLength: 16,
  maxLength: 16,
});

export const addressBytes: fc.Arbitrary<Uint8Array> = fc.oneof(
  bytes(4),
  bytes(16),
  sparse.map((values) => Uint8Array.from(values)),
);

export const address: fc.Arbitrary<string> = addressBytes.map((value) => formatAddressBytes(value, value.length === 4 ? 4 : 6));

const port = fc.integer({ min: 0, max: 65535 });
const count = fc.integer({ min: 0, max: 0xffffffff });
const total = fc.maxSafeNat();

const serviceId: fc.Arbitrary<ServiceId> = fc.oneof(
  fc.record({ protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const), address, port }),
  fc.record({ fwmark: fc.integer({ min: 1, max: 0xffffffff }), family: fc.constantFrom('ipv4' as const, 'ipv6' as const) }),
);

/** `full`: the prefix length that is the default, left out of the canonical form. */
function serviceSpec(full: 32 | 128): fc.Arbitrary<ServiceSpec> {
  return fc.record(
    {
      scheduler: fc.constantFrom('rr', 'wrr', 'lc', 'wlc', 'sh', 'mh', 'fo'),
      schedulerFlags: fc.subarray([1, 2, 3] as const, { minLength: 1 }),
      persistenceSeconds: fc.integer({ min: 1, max: 86400 * 31 }),
      persistencePrefix: fc.integer({ min: 1, max: full - 1 }),
      onePacket: fc.constant(true as const),
      persistenceEngine: fc.constant('sip'),
    },
    { requiredKeys: ['scheduler'] },
  );
}

const tunnel: fc.Arbitrary<DestinationSpec['tunnel']> = fc.oneof(
  fc.record({ type: fc.constant('gue' as const), port: fc.integer({ min: 1, max: 65535 }) }),
  fc.record({
    type: fc.constant('gue' as const),
    port: fc.integer({ min: 1, max: 65535 }),
    checksum: fc.constantFrom('plain' as const, 'remote' as const),
  }),
  fc.record({ type: fc.constant('gre' as const) }),
  fc.record({ type: fc.constant('gre' as const), checksum: fc.constant('plain' as const) }),
);

const plainDestination = {
  weight: fc.integer({ min: 0, max: 65535 }),
  upperThreshold: fc.integer({ min: 1, max: 0xffffffff }),
  lowerThreshold: fc.integer({ min: 1, max: 0xffffffff }),
};

const destinationSpec: fc.Arbitrary<DestinationSpec> = fc.oneof(
  fc.record(
    { forward: fc.constantFrom('masquerade' as const, 'local' as const, 'direct' as const, 'tunnel' as const), ...plainDestination },
    { requiredKeys: ['forward', 'weight'] },
  ),
  fc
    .record({ forward: fc.constant('tunnel' as const), ...plainDestination, tunnel }, { requiredKeys: ['forward', 'weight', 'tunnel'] })
    .map(({ tunnel: value, ...rest }) => (value === undefined ? rest : { ...rest, tunnel: value })),
);

const statistics: fc.Arbitrary<Statistics> = fc.record({
  connections: total,
  inPackets: total,
  outPackets: total,
  inBytes: total,
  outBytes: total,
  connectionsPerSecond: total,
  inPacketsPerSecond: total,
  outPacketsPerSecond: total,
  inBytesPerSecond: total,
  outBytesPerSecond: total,
});

const destination: fc.Arbitrary<Destination> = fc.record({
  id: fc.record({ address, port }),
  spec: destinationSpec,
  activeConnections: count,
  inactiveConnections: count,
  persistentConnections: count,
  statistics,
});

const service: fc.Arbitrary<Service> = serviceId.chain((id) => {
  const ipv4 = 'fwmark' in id ? id.family === 'ipv4' : !id.address.includes(':');
  return fc.record({
    id: fc.constant(id),
    spec: serviceSpec(ipv4 ? 32 : 128),
    statistics,
    destinations: fc.array(destination, { maxLength: 5 }),
  });
});

/** Plain objects: fc.record() also makes some without a prototype, which deepEqual tells apart. */
export const services: fc.Arbitrary<Service[]> = fc.array(service, { maxLength: 8 }).map((list) => structuredClone(list));
