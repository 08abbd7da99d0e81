/** Random rules that both a kernel and ipvsadm take. */
import fc from 'fast-check';
import { destinationKey, serviceKey } from '../../src/native/ipvs-columns.ts';
import type { DestinationId, DestinationSpec, ServiceId, ServiceSpec } from '../../src/native/ipvs-types.ts';
import type { Rules } from './ipvsadm.ts';

const octet = fc.integer({ min: 1, max: 254 });
const port = fc.integer({ min: 1, max: 65535 });
const address = (six: boolean): fc.Arbitrary<string> =>
  six ? octet.map((last) => `2001:db8::${last.toString(16)}`) : fc.tuple(octet, octet).map(([a, b]) => `10.20.${String(a)}.${String(b)}`);

const serviceId = (six: boolean): fc.Arbitrary<ServiceId> =>
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        protocol: fc.constantFrom('tcp' as const, 'udp' as const, 'sctp' as const),
        address: six ? octet.map((last) => `2001:db8:1::${last.toString(16)}`) : octet.map((last) => `192.0.2.${String(last)}`),
        port,
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        fwmark: fc.integer({ min: 1, max: 0x7fffffff }),
        family: fc.constant(six ? ('ipv6' as const) : ('ipv4' as const)),
      }),
    },
  );

function serviceSpec(id: ServiceId, six: boolean): fc.Arbitrary<ServiceSpec> {
  const udp = 'protocol' in id && id.protocol === 'udp';
  const persistence = fc
    .record(
      { persistenceSeconds: fc.integer({ min: 1, max: 86_400 }), persistencePrefix: fc.integer({ min: 1, max: six ? 127 : 31 }) },
      { requiredKeys: ['persistenceSeconds'] },
    )
    .chain((given) => (udp ? fc.constantFrom({ ...given, persistenceEngine: 'sip' }, given) : fc.constant(given)));
  return fc
    .tuple(
      fc.oneof(
        fc.record({ scheduler: fc.constantFrom('rr', 'wrr', 'lc', 'wlc', 'dh', 'sed', 'nq') }),
        fc.record(
          { scheduler: fc.constantFrom('sh', 'mh'), schedulerFlags: fc.subarray([1, 2] as const, { minLength: 1 }) },
          { requiredKeys: ['scheduler'] },
        ),
      ),
      fc.oneof(fc.constant({}), persistence, udp ? fc.constant({ onePacket: true }) : fc.constant({})),
    )
    .map(([scheduling, rest]) => ({ ...scheduling, ...rest }));
}

const tunnel: fc.Arbitrary<DestinationSpec['tunnel']> = fc.oneof(
  fc.record({ type: fc.constant('gue' as const), port }),
  fc.record({ type: fc.constant('gue' as const), port, checksum: fc.constantFrom('plain' as const, 'remote' as const) }),
  fc.record({ type: fc.constant('gre' as const) }),
  fc.record({ type: fc.constant('gre' as const), checksum: fc.constant('plain' as const) }),
);

const destinationSpec: fc.Arbitrary<DestinationSpec> = fc
  .tuple(
    fc.oneof(
      fc.record({ forward: fc.constantFrom('direct' as const, 'masquerade' as const, 'tunnel' as const) }),
      tunnel.map((value) => ({ forward: 'tunnel' as const, ...(value === undefined ? {} : { tunnel: value }) })),
    ),
    fc.constantFrom(0, 1, 2, 100, 65535),
    fc.oneof(
      fc.constant({}),
      fc.integer({ min: 1, max: 100_000 }).map((upper) => ({ upperThreshold: upper })),
      fc.integer({ min: 1, max: 100_000 }).map((upper) => ({ upperThreshold: upper, lowerThreshold: Math.ceil(upper / 2) })),
    ),
  )
  .map(([forward, weight, thresholds]) => ({ ...forward, weight, ...thresholds }));

interface Row {
  readonly id: ServiceId;
  readonly spec: ServiceSpec;
  readonly destinations: readonly { readonly id: DestinationId; readonly spec: DestinationSpec }[];
}

const row: fc.Arbitrary<Row> = fc.boolean().chain((six) =>
  serviceId(six).chain((id) =>
    fc.record({
      id: fc.constant(id),
      spec: serviceSpec(id, six),
      // Without masquerading the kernel sends to the service's own port, and ipvsadm prints what it was given.
      destinations: fc.uniqueArray(fc.record({ id: fc.record({ address: address(six), port }), spec: destinationSpec }), {
        maxLength: 6,
        selector: (destination) => destinationKey(destination.id),
      }),
    }),
  ),
);

/** At most 10 services with at most 6 destinations each. */
export const randomRules: fc.Arbitrary<Rules> = fc
  .uniqueArray(row, { maxLength: 10, selector: (each) => serviceKey(each.id) })
  .map((rows) => structuredClone(rows))
  .map(
    (rows) =>
      new Map(
        rows.map(({ id, spec, destinations }) => [
          serviceKey(id),
          { id, spec, destinations: new Map(destinations.map((each) => [destinationKey(each.id), each])) },
        ]),
      ),
  );
