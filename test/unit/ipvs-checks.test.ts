/** What a caller may not ask of IPVS, and the field that the error names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OperationColumns } from '../../src/native/ipvs-blocks.ts';
import { checkDaemon, checkRole, checkTimeouts } from '../../src/native/ipvs-checks.ts';
import type { IpvsOperation } from '../../src/native/ipvs-types.ts';

const service = { protocol: 'tcp', address: '192.0.2.10', port: 80 };
const spec = { scheduler: 'wrr' };
const destination = { address: '10.0.0.1', port: 80 };
const to = { forward: 'direct', weight: 1 };

const addService = (change: object): object => ({ op: 'addService', service, spec: { ...spec, ...change } });
const addDestination = (change: object): object => ({ op: 'addDestination', service, destination, spec: { ...to, ...change } });
const ofService = (change: object): object => ({ op: 'deleteService', service: { ...service, ...change } });
const ofDestination = (change: object): object => ({ op: 'deleteDestination', service, destination: { ...destination, ...change } });

/** Operation, class of the error, and how its message begins. */
const refused: readonly (readonly [operation: object, type: typeof TypeError | typeof RangeError, message: string])[] = [
  [{ op: 'flush', service }, TypeError, 'operations[0].op: not an operation: "flush"'],
  [{ op: 'addService', spec }, TypeError, 'operations[0].service: expected an object'],
  [{ op: 'addService', service }, TypeError, 'operations[0].spec: expected an object'],
  [{ op: 'deleteDestination', service }, TypeError, 'operations[0].destination: expected an object'],
  [{ op: 'setDestination', service, destination }, TypeError, 'operations[0].spec: expected an object'],
  [ofService({ protocol: 'icmp' }), TypeError, 'operations[0].service.protocol: expected one of tcp, udp, sctp; got "icmp"'],
  [ofService({ protocol: 'toString' }), TypeError, 'operations[0].service.protocol:'],
  [ofService({ address: '192.0.2.256' }), TypeError, 'operations[0].service.address: not an IP address: "192.0.2.256"'],
  [ofService({ address: 7 }), TypeError, 'operations[0].service.address: not an IP address: 7'],
  [ofService({ port: -1 }), RangeError, 'operations[0].service.port: expected an integer from 0 to 65535, got -1'],
  [ofService({ port: 65536 }), RangeError, 'operations[0].service.port'],
  [ofService({ port: 80.5 }), RangeError, 'operations[0].service.port'],
  [ofService({ port: Number.NaN }), RangeError, 'operations[0].service.port'],
  [ofService({ port: '80' }), TypeError, 'operations[0].service.port: expected a number, got "80"'],
  [{ op: 'deleteService', service: { fwmark: 0, family: 'ipv4' } }, RangeError, 'operations[0].service.fwmark'],
  [{ op: 'deleteService', service: { fwmark: 2 ** 32, family: 'ipv4' } }, RangeError, 'operations[0].service.fwmark'],
  [{ op: 'deleteService', service: { fwmark: 1 } }, TypeError, 'operations[0].service.family'],
  [addService({ scheduler: '' }), TypeError, 'operations[0].spec.scheduler'],
  [addService({ scheduler: 'sixteen-letters-' }), TypeError, 'operations[0].spec.scheduler'],
  [addService({ scheduler: 'w r' }), TypeError, 'operations[0].spec.scheduler'],
  [addService({ scheduler: 'wrr\0' }), TypeError, 'operations[0].spec.scheduler'],
  [addService({ schedulerFlags: 1 }), TypeError, 'operations[0].spec.schedulerFlags: expected an array'],
  [addService({ schedulerFlags: [1, 4] }), RangeError, 'operations[0].spec.schedulerFlags[1]'],
  [addService({ persistenceSeconds: 0 }), RangeError, 'operations[0].spec.persistenceSeconds'],
  [addService({ persistenceSeconds: 86_400 * 31 + 1 }), RangeError, 'operations[0].spec.persistenceSeconds'],
  [addService({ persistencePrefix: 0 }), RangeError, 'operations[0].spec.persistencePrefix'],
  [addService({ persistencePrefix: 33 }), RangeError, 'operations[0].spec.persistencePrefix: expected an integer from 1 to 32, got 33'],
  [addService({ onePacket: 1 }), TypeError, 'operations[0].spec.onePacket'],
  [addService({ persistenceEngine: 'sixteen-letters-' }), TypeError, 'operations[0].spec.persistenceEngine'],
  [ofDestination({ address: 'fe80::1%eth0' }), TypeError, 'operations[0].destination.address'],
  [ofDestination({ address: undefined }), TypeError, 'operations[0].destination.address'],
  [ofDestination({ port: 65536 }), RangeError, 'operations[0].destination.port'],
  [addDestination({ forward: 'bypass' }), TypeError, 'operations[0].spec.forward: expected one of masquerade, local, tunnel, direct'],
  [addDestination({ weight: -1 }), RangeError, 'operations[0].spec.weight: expected an integer from 0 to 65535, got -1'],
  [addDestination({ weight: 65536 }), RangeError, 'operations[0].spec.weight'],
  [addDestination({ weight: undefined }), TypeError, 'operations[0].spec.weight'],
  [addDestination({ upperThreshold: -1 }), RangeError, 'operations[0].spec.upperThreshold'],
  [addDestination({ lowerThreshold: 2 ** 32 }), RangeError, 'operations[0].spec.lowerThreshold'],
  [addDestination({ tunnel: { type: 'ipip' } }), TypeError, 'operations[0].spec.tunnel: only with forward "tunnel"'],
  [addDestination({ forward: 'tunnel', tunnel: { type: 'vxlan' } }), TypeError, 'operations[0].spec.tunnel.type'],
  [addDestination({ forward: 'tunnel', tunnel: { type: 'gue' } }), TypeError, 'operations[0].spec.tunnel.port: gue needs one'],
  [addDestination({ forward: 'tunnel', tunnel: { type: 'gue', port: 0 } }), RangeError, 'operations[0].spec.tunnel.port'],
  [addDestination({ forward: 'tunnel', tunnel: { type: 'gre', port: 1 } }), TypeError, 'operations[0].spec.tunnel.port: only gue'],
  [addDestination({ forward: 'tunnel', tunnel: { type: 'gre', checksum: 'yes' } }), TypeError, 'operations[0].spec.tunnel.checksum'],
];

for (const [operation, type, message] of refused) {
  test(`refused: ${message}`, () => {
    const columns = new OperationColumns(1);
    assert.throws(
      () => {
        columns.put(0, operation as IpvsOperation, () => 'operations[0]');
      },
      (error) => error instanceof type && error.message.startsWith(message),
    );
  });
}

test('the edges of every range are accepted', () => {
  const accepted = [
    ofService({ port: 0 }),
    ofService({ port: 65535 }),
    { op: 'deleteService', service: { fwmark: 1, family: 'ipv6' } },
    { op: 'deleteService', service: { fwmark: 0xffffffff, family: 'ipv4' } },
    addService({
      scheduler: 'fifteen-letters',
      schedulerFlags: [3, 1],
      persistenceSeconds: 86_400 * 31,
      persistencePrefix: 1,
      onePacket: true,
    }),
    {
      op: 'setService',
      service: { ...service, address: '2001:db8::a' },
      spec: { ...spec, persistencePrefix: 128, persistenceEngine: 'sip' },
    },
    addDestination({ weight: 0, upperThreshold: 0xffffffff, lowerThreshold: 0xffffffff }),
    addDestination({ weight: 65535, upperThreshold: 0, lowerThreshold: 0 }),
    addDestination({ forward: 'tunnel', tunnel: { type: 'gue', port: 65535, checksum: 'remote' } }),
  ];
  const columns = new OperationColumns(accepted.length);
  accepted.forEach((operation, row) => {
    columns.put(row, operation as IpvsOperation, () => `operations[${String(row)}]`);
  });
  assert.deepEqual(columns.names, ['', 'fifteen-letters', 'wrr', 'sip']);
});

test('a service id is checked again after a refused one', () => {
  const columns = new OperationColumns(2);
  const bad = ofService({ port: 70_000 }) as IpvsOperation;
  for (const row of [0, 1]) {
    assert.throws(() => {
      columns.put(row, bad, () => `operations[${String(row)}]`);
    }, RangeError);
  }
});

test('columns that were reset are as good as new', () => {
  const used = new OperationColumns(2);
  const put = (columns: OperationColumns, operations: readonly object[]): void => {
    operations.forEach((operation, row) => {
      columns.put(row, operation as IpvsOperation, () => 'x');
    });
  };
  put(used, [
    addService({ scheduler: 'mh', persistenceSeconds: 60, persistenceEngine: 'sip' }),
    addDestination({ forward: 'tunnel', upperThreshold: 9, lowerThreshold: 3, tunnel: { type: 'gue', port: 1, checksum: 'plain' } }),
  ]);
  used.reset();
  const fresh = new OperationColumns(2);
  // The same service object first: a reset block must not point to a row that is gone.
  for (const columns of [used, fresh]) put(columns, [addDestination({}), ofService({ port: 81 })]);
  assert.deepEqual(used.names, fresh.names);
  assert.deepEqual(new Uint8Array(used.bytes), new Uint8Array(fresh.bytes));
});

test('timeouts', () => {
  checkTimeouts({});
  checkTimeouts({ tcp: 1, tcpFin: 2_147_483 });
  assert.throws(() => {
    checkTimeouts({ tcp: 0 });
  }, /^RangeError: timeouts\.tcp: expected an integer from 1 to 2147483/);
  assert.throws(() => {
    checkTimeouts({ tcpfin: 1 } as object);
  }, /^TypeError: timeouts: expected one of tcp, tcpFin, udp; got "tcpfin"/);
  assert.throws(() => {
    checkTimeouts(null as unknown as object);
  }, TypeError);
});

test('sync daemons', () => {
  const daemon = { role: 'master', interface: 'eth0', syncId: 1 } as const;
  assert.equal(checkDaemon(daemon), undefined);
  assert.deepEqual(checkDaemon({ ...daemon, group: '224.0.0.81' }), Uint8Array.of(224, 0, 0, 81));
  assert.equal(checkDaemon({ ...daemon, group: 'ff02::1' })?.length, 16);
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ role: 'primary' }, /^TypeError: daemon\.role/],
    [{ interface: '' }, /^TypeError: daemon\.interface/],
    [{ interface: 'sixteen-letters-' }, /^TypeError: daemon\.interface/],
    [{ syncId: 256 }, /^RangeError: daemon\.syncId/],
    [{ maxLength: 0 }, /^RangeError: daemon\.maxLength/],
    [{ port: 0 }, /^RangeError: daemon\.port/],
    [{ ttl: 256 }, /^RangeError: daemon\.ttl/],
    [{ group: '10.0.0.1' }, /^RangeError: daemon\.group: not a multicast address/],
    [{ group: '2001:db8::1' }, /^RangeError: daemon\.group/],
    [{ group: 'all' }, /^TypeError: daemon\.group: not an IP address/],
  ];
  for (const [change, message] of wrong) assert.throws(() => checkDaemon({ ...daemon, ...change }), message);
  assert.throws(() => {
    checkRole('toString');
  }, TypeError);
});
