/** IPVS: errno per operation, order within a batch, and what a snapshot shows. */
import assert from 'node:assert/strict';
import { toObjects } from '../../src/native/ipvs-columns.ts';
import type { DestinationSpec, IpvsOperation, IpvsPort, ServiceId, ServiceSpec } from '../../src/native/ipvs-types.ts';
import type { ConformanceCase } from './expect.ts';
import { outcomes } from './expect.ts';

const web: ServiceId = { protocol: 'tcp', address: '192.0.2.10', port: 80 };
const dns: ServiceId = { protocol: 'udp', address: '192.0.2.10', port: 53 };
const six: ServiceId = { protocol: 'tcp', address: '2001:db8::10', port: 80 };
const wrr: ServiceSpec = { scheduler: 'wrr' };
const direct: DestinationSpec = { forward: 'direct', weight: 1 };
const node = (last: number, port = 80) => ({ address: `10.20.0.${last}`, port });

const addWeb: IpvsOperation = { op: 'addService', service: web, spec: wrr };
const addNode = (last: number, spec = direct): IpvsOperation => ({ op: 'addDestination', service: web, destination: node(last), spec });
const setNode = (last: number, spec: DestinationSpec): IpvsOperation => ({
  op: 'setDestination',
  service: web,
  destination: node(last),
  spec,
});

/** The operations, with the errno name that each must end with. */
function batch(name: string, ...steps: readonly [IpvsOperation, string?][]): ConformanceCase<IpvsPort> {
  return {
    name,
    async run(port) {
      const result = await port.apply(steps.map(([operation]) => operation));
      assert.deepEqual(
        outcomes(result, steps.length),
        steps.map(([, code]) => code),
      );
    },
  };
}

/** A value that no kernel takes ends the call before anything is written, also what stands before it. */
function refusesValues(name: string, operations: readonly IpvsOperation[]): ConformanceCase<IpvsPort> {
  return {
    name: `${name} is refused before the kernel is asked`,
    async run(port) {
      await assert.rejects(port.apply(operations), RangeError);
      assert.equal((await port.snapshot()).services.count, 0);
    },
  };
}

/** The operations all work; then the table looks like this. */
function state(
  name: string,
  operations: readonly IpvsOperation[],
  look: (services: ReturnType<typeof toObjects>) => void,
): ConformanceCase<IpvsPort> {
  return {
    name,
    async run(port) {
      const result = await port.apply(operations);
      assert.deepEqual(result.failed, []);
      look(toObjects(await port.snapshot()));
    },
  };
}

export const ipvsCases: readonly ConformanceCase<IpvsPort>[] = [
  batch('a service is added once', [addWeb], [addWeb, 'EEXIST']),
  batch('a batch goes on after a failure', [addWeb], [addWeb, 'EEXIST'], [{ op: 'addService', service: dns, spec: wrr }]),
  batch(
    'same address and port of another protocol is another service',
    [addWeb],
    [{ op: 'addService', service: { ...web, protocol: 'udp' }, spec: wrr }],
  ),
  batch('an unknown scheduler', [{ op: 'addService', service: web, spec: { scheduler: 'nosuch' } }, 'ENOENT']),
  batch('editing an unknown service', [{ op: 'setService', service: web, spec: wrr }, 'ESRCH']),
  batch('editing to an unknown scheduler', [addWeb], [{ op: 'setService', service: web, spec: { scheduler: 'nosuch' } }, 'ENOENT']),
  batch('deleting an unknown service', [{ op: 'deleteService', service: web }, 'ESRCH']),
  batch('deleting a service twice', [addWeb], [{ op: 'deleteService', service: web }], [{ op: 'deleteService', service: web }, 'ESRCH']),
  batch('a destination of an unknown service', [addNode(11), 'ESRCH']),
  batch('editing a destination of an unknown service', [setNode(11, direct), 'ESRCH']),
  batch('deleting a destination of an unknown service', [{ op: 'deleteDestination', service: web, destination: node(11) }, 'ESRCH']),
  batch('a destination is added once', [addWeb], [addNode(11)], [addNode(11), 'EEXIST']),
  batch('editing an unknown destination', [addWeb], [setNode(11, direct), 'ENOENT']),
  batch('deleting an unknown destination', [addWeb], [{ op: 'deleteDestination', service: web, destination: node(11) }, 'ENOENT']),
  batch(
    'same address with another port is another destination',
    [addWeb],
    [addNode(11)],
    [{ op: 'addDestination', service: web, destination: node(11, 81), spec: direct }],
  ),
  batch(
    'a destination that is no unicast address',
    [addWeb],
    [{ op: 'addDestination', service: web, destination: { address: '224.0.0.1', port: 80 }, spec: direct }, 'EINVAL'],
  ),
  batch(
    'a destination that is no address of anybody',
    [addWeb],
    [{ op: 'addDestination', service: web, destination: { address: '0.0.0.0', port: 80 }, spec: direct }, 'EINVAL'],
  ),
  batch('a lower threshold above the upper', [addWeb], [addNode(11, { ...direct, upperThreshold: 5, lowerThreshold: 6 }), 'ERANGE']),
  batch(
    'editing thresholds to a lower above the upper',
    [addWeb],
    [addNode(11)],
    [setNode(11, { ...direct, upperThreshold: 1, lowerThreshold: 2 }), 'ERANGE'],
  ),
  refusesValues('a weight below zero', [addWeb, addNode(11, { ...direct, weight: -1 })]),
  refusesValues('a weight that ipvsadm could not restore', [addWeb, addNode(11, { ...direct, weight: 65536 })]),
  refusesValues('a port beyond 16 bits', [{ op: 'addService', service: { ...web, port: 65536 }, spec: wrr }]),
  batch('equal thresholds', [addWeb], [addNode(11, { ...direct, upperThreshold: 5, lowerThreshold: 5 })]),
  state('an empty table', [], (services) => assert.deepEqual(services, [])),
  state('a service with its destinations', [addWeb, addNode(11), addNode(12, { ...direct, weight: 0 })], ([service, ...others]) => {
    assert.deepEqual(others, []);
    assert.deepEqual(service?.id, web);
    assert.deepEqual(service.spec, { scheduler: 'wrr' });
    const found = service.destinations.map(({ id, spec }) => ({ id, spec })).sort((a, b) => (a.id.address < b.id.address ? -1 : 1));
    assert.deepEqual(found, [
      { id: node(11), spec: direct },
      { id: node(12), spec: { ...direct, weight: 0 } },
    ]);
  }),
  state('a service without destinations', [addWeb], (services) => assert.deepEqual(services[0]?.destinations, [])),
  state('the newest destination is listed first', [addWeb, addNode(12), addNode(11), addNode(13)], (services) => {
    assert.deepEqual(
      services[0]?.destinations.map(({ id }) => id.address),
      ['10.20.0.13', '10.20.0.11', '10.20.0.12'],
    );
  }),
  state(
    'an edit keeps the place, a removal the order of the rest, and what is put in again is the first',
    [
      ...[
        addWeb,
        addNode(12),
        addNode(11),
        addNode(13),
        addNode(14),
        setNode(12, { ...direct, weight: 0 }),
        setNode(11, { ...direct, weight: 5 }),
      ],
      { op: 'deleteDestination', service: web, destination: node(12) },
      addNode(12),
      { op: 'deleteDestination', service: web, destination: node(13) },
    ],
    (services) => {
      assert.deepEqual(
        services[0]?.destinations.map(({ id }) => id.address),
        ['10.20.0.12', '10.20.0.14', '10.20.0.11'],
      );
    },
  ),
  state(
    'deleting a service takes its destinations along',
    [addWeb, addNode(11), { op: 'deleteService', service: web }, addWeb],
    (services) => {
      assert.deepEqual(services[0]?.destinations, []);
    },
  ),
  state(
    'an edit of the scheduler keeps the destinations',
    [addWeb, addNode(11), { op: 'setService', service: web, spec: { scheduler: 'rr' } }],
    ([service]) => {
      assert.equal(service?.spec.scheduler, 'rr');
      assert.equal(service.destinations.length, 1);
    },
  ),
  state(
    'an edit of the scheduler brings its flags',
    [addWeb, addNode(11), { op: 'setService', service: web, spec: { scheduler: 'mh', schedulerFlags: [1, 2] } }],
    ([service]) => assert.deepEqual(service?.spec, { scheduler: 'mh', schedulerFlags: [1, 2] }),
  ),
  state(
    'an edit takes flags away',
    [
      { op: 'addService', service: web, spec: { scheduler: 'mh', schedulerFlags: [1, 2] } },
      { op: 'setService', service: web, spec: { scheduler: 'mh', schedulerFlags: [2] } },
    ],
    ([service]) => assert.deepEqual(service?.spec, { scheduler: 'mh', schedulerFlags: [2] }),
  ),
  state('an edit of the weight', [addWeb, addNode(11), setNode(11, { ...direct, weight: 65535 })], ([service]) => {
    assert.equal(service?.destinations[0]?.spec.weight, 65535);
  }),
  state(
    'an edit of the forwarding method is in place',
    [addWeb, addNode(11), setNode(11, { forward: 'tunnel', weight: 1 })],
    ([service]) => {
      assert.deepEqual(
        service?.destinations.map(({ spec }) => spec),
        [{ forward: 'tunnel', weight: 1 }],
      );
    },
  ),
  state('thresholds are kept', [addWeb, addNode(11, { ...direct, upperThreshold: 6000, lowerThreshold: 3000 })], ([service]) => {
    assert.deepEqual(service?.destinations[0]?.spec, { ...direct, upperThreshold: 6000, lowerThreshold: 3000 });
  }),
  state(
    'an edit takes thresholds away',
    [addWeb, addNode(11, { ...direct, upperThreshold: 9, lowerThreshold: 3 }), setNode(11, direct)],
    ([service]) => {
      assert.deepEqual(service?.destinations[0]?.spec, direct);
    },
  ),
  state(
    'a service of IPv6',
    [
      { op: 'addService', service: six, spec: wrr },
      { op: 'addDestination', service: six, destination: { address: '2001:db8:1::11', port: 80 }, spec: direct },
    ],
    ([service]) => {
      assert.deepEqual(service?.id, six);
      assert.deepEqual(service.destinations[0]?.id, { address: '2001:db8:1::11', port: 80 });
    },
  ),
  state('a service by firewall mark', [{ op: 'addService', service: { fwmark: 7, family: 'ipv4' }, spec: wrr }], ([service]) => {
    assert.deepEqual(service?.id, { fwmark: 7, family: 'ipv4' });
  }),
  state('a persistent service', [{ op: 'addService', service: web, spec: { scheduler: 'rr', persistenceSeconds: 360 } }], ([service]) => {
    assert.deepEqual(service?.spec, { scheduler: 'rr', persistenceSeconds: 360 });
  }),
];
