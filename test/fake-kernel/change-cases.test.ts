/** Named cases C06 to C08: what becomes of virtual services that are there, in which order. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { desiredDirector } from '../../src/desired/director.ts';
import { snapshotFromObjects, NO_STATISTICS } from '../../src/native/ipvs-columns.ts';
import type { DestinationSpec, IpvsOperation, Service, ServiceId, ServiceSpec } from '../../src/native/ipvs-types.ts';
import { apiAt, defaults, destinationsOf, keeping, n5, NODES, planDirector, runDirector, servicesOf, stateOf } from './fixture.ts';
import { FakeKernel } from './kernel.ts';
import { web, webId } from './cases.ts';

const counters = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0, statistics: NO_STATISTICS };

function kernelService(id: ServiceId, spec: ServiceSpec, destinations: Readonly<Record<string, DestinationSpec>>): Service {
  return {
    id,
    spec,
    statistics: NO_STATISTICS,
    destinations: Object.entries(destinations).map(([address, destination]) => ({
      id: { address, port: 'port' in id ? id.port : 0 },
      spec: destination,
      ...counters,
    })),
  };
}

suite('C06 representation-independent no-op', () => {
  const desired = (flags: string, scheduler: string) =>
    desiredDirector(
      stateOf({ '192.0.2.10': { '80': apiAt({ ipvsOptions: { scheduler, flags, forwardingMethod: 'i' } }) } }, { nodes: [...NODES, n5] }),
      keeping,
    );

  for (const [scheduler, flags] of [
    ['mh', 'flag-1,flag-2'],
    ['mh', 'mh-port,mh-fallback'],
    ['sh', 'sh-port,sh-fallback'],
    ['sh', 'flag-2,flag-1'],
  ] as const) {
    test(`C06: ${scheduler} with ${flags} against explicit defaults in the kernel`, () => {
      const tunnel = (weight: number): DestinationSpec => ({
        forward: 'tunnel',
        weight,
        upperThreshold: 0,
        lowerThreshold: 0,
        tunnel: { type: 'ipip', checksum: 'none' },
      });
      const observed = snapshotFromObjects([
        kernelService(
          webId,
          { scheduler, schedulerFlags: [1, 2], persistencePrefix: 32 },
          // The order is that of an agent: for mh it matters.
          { '10.20.0.15': tunnel(0), '10.20.0.12': tunnel(1), '10.20.0.11': tunnel(3) },
        ),
      ]);
      // The kernel keeps a timeout for every service, and marks those in its hash (IP_VS_SVC_F_HASHED).
      observed.services.timeout[0] = 300;
      observed.services.flags[0] = (observed.services.flags[0] ?? 0) | 2;
      assert.deepEqual(planDirector(desired(flags, scheduler), observed).operations, []);
    });
  }

  test('C06: a flag that is really missing is put', () => {
    const observed = snapshotFromObjects([kernelService(webId, { scheduler: 'mh', schedulerFlags: [1] }, {})]);
    assert.equal(planDirector(desired('flag-1,flag-2', 'mh'), observed).operations[0]?.operation.op, 'setService');
  });
});

/** `phase op subject` of each operation. */
function texts(operations: readonly { phase: string; operation: IpvsOperation }[]): string[] {
  return operations.map(({ phase, operation }) => {
    const service = 'address' in operation.service ? `${operation.service.address}:${operation.service.port}` : 'fwmark';
    const weight = 'spec' in operation && 'weight' in operation.spec ? ` w${operation.spec.weight}` : '';
    return `${phase}: ${operation.op} ${service}${'destination' in operation ? ` ${operation.destination.address}` : ''}${weight}`;
  });
}

suite('C07 weight changes are edits, phased', () => {
  const tunnel = (weight: number): DestinationSpec => ({ forward: 'tunnel', weight });
  const held = kernelService(
    webId,
    { scheduler: 'mh', schedulerFlags: [1, 2] },
    { '10.20.0.11': tunnel(3), '10.20.0.12': tunnel(1), '10.20.0.15': tunnel(0) },
  );
  const pods = (...nodes: string[]) =>
    nodes.map((name, at) => ({ address: `10.50.7.${at + 1}`, port: 8080, portName: 'http', node: name, ready: true, terminating: false }));
  const config = { '192.0.2.10': { '80': apiAt({ ipvsOptions: { scheduler: 'mh', forwardingMethod: 'i' } }) } };
  const target = desiredDirector(stateOf(config, { nodes: [...NODES, n5], api: pods('n1', 'n1', 'n5', 'n5') }), keeping);

  async function kernelHolding(service: Service): Promise<FakeKernel> {
    const kernel = new FakeKernel();
    await kernel.ipvs.apply([
      { op: 'addService', service: service.id, spec: service.spec },
      ...service.destinations.map(({ id, spec }): IpvsOperation => ({ op: 'addDestination', service: service.id, destination: id, spec })),
    ]);
    return kernel;
  }

  test('C07: cuts first, the raise from zero last, connections survive', async () => {
    const kernel = await kernelHolding(held);
    kernel.ipvs.setConnections('tcp 192.0.2.10:80', '10.20.0.12:80', 17);
    const { operations } = planDirector(target, await kernel.ipvs.snapshot());
    assert.deepEqual(texts(operations), [
      'lower: setDestination 192.0.2.10:80 10.20.0.11 w2',
      'lower: setDestination 192.0.2.10:80 10.20.0.12 w0',
      'raiseFromZero: setDestination 192.0.2.10:80 10.20.0.15 w2',
    ]);
    await kernel.ipvs.apply(operations.map(({ operation }) => operation));
    const after = (await servicesOf(kernel)).get('tcp 192.0.2.10:80');
    assert.equal(after?.destinations.find(({ id }) => id.address === '10.20.0.12')?.activeConnections, 17);
    assert.deepEqual(planDirector(target, await kernel.ipvs.snapshot()).operations, []);
  });

  test('C07: a change of the forwarding method touches that destination alone, in the same pass', async () => {
    const mixed = {
      ...held,
      destinations: held.destinations.map((item) =>
        item.id.address === '10.20.0.11'
          ? { ...item, spec: { ...item.spec, forward: 'direct' as const, weight: 2 } }
          : { ...item, spec: { ...item.spec, weight: item.id.address === '10.20.0.15' ? 2 : 0 } },
      ),
    };
    const kernel = await kernelHolding(mixed);
    const { operations } = planDirector(target, await kernel.ipvs.snapshot());
    assert.deepEqual(texts(operations), ['lower: setDestination 192.0.2.10:80 10.20.0.11 w2']);
    await kernel.ipvs.apply(operations.map(({ operation }) => operation));
    assert.deepEqual(destinationsOf((await servicesOf(kernel)).get('tcp 192.0.2.10:80')), [
      '10.20.0.11:80 TUN w2 x0 y0',
      '10.20.0.12:80 TUN w0 x0 y0',
      '10.20.0.15:80 TUN w2 x0 y0',
    ]);
  });

  test('C07: a raise from above zero does not wait for the raise from zero', async () => {
    const kernel = await kernelHolding({
      ...held,
      destinations: held.destinations.map((item) => (item.id.address === '10.20.0.11' ? { ...item, spec: tunnel(1) } : item)),
    });
    assert.deepEqual(texts(planDirector(target, await kernel.ipvs.snapshot()).operations), [
      'lower: setDestination 192.0.2.10:80 10.20.0.12 w0',
      'raise: setDestination 192.0.2.10:80 10.20.0.11 w2',
      'raiseFromZero: setDestination 192.0.2.10:80 10.20.0.15 w2',
    ]);
  });
});

suite('C08 service lifecycle order, scale, and recreation', () => {
  test('C08a: destinations go before their service, a service comes before its destinations', async () => {
    const kernel = new FakeKernel();
    await runDirector(kernel, stateOf(web, { nodes: [...NODES, n5] }), keeping);
    const next = desiredDirector(stateOf({ '192.0.2.11': { '443': apiAt() } }, { nodes: [NODES[0]!] }), defaults);
    const { operations } = planDirector(next, await kernel.ipvs.snapshot(), ['192.0.2.10']);
    assert.deepEqual(texts(operations), [
      'deleteDestination: deleteDestination 192.0.2.10:80 10.20.0.11',
      'deleteDestination: deleteDestination 192.0.2.10:80 10.20.0.12',
      'deleteDestination: deleteDestination 192.0.2.10:80 10.20.0.15',
      'deleteService: deleteService 192.0.2.10:80',
      'putService: addService 192.0.2.11:443',
      'addDestination: addDestination 192.0.2.11:443 10.20.0.11 w3',
    ]);
    assert.deepEqual((await kernel.ipvs.apply(operations.map(({ operation }) => operation))).failed, []);
    assert.deepEqual([...(await servicesOf(kernel)).keys()], ['tcp 192.0.2.11:443']);
  });

  test('C08b: of 12,700 rules one service with 19 destinations goes: 20 removals, less than 100 ms', () => {
    const nodes = Array.from({ length: 19 }, (_, at) => ({ ...n5, name: `m${at}`, addresses: [`10.20.1.${at + 1}`] }));
    const config = Object.fromEntries(
      Array.from({ length: 635 }, (_, at) => [`192.0.${at >> 8}.${at & 255}`, { '80': apiAt({ ipvsOptions: { scheduler: 'mh' } }) }]),
    );
    const { services, ...rest } = desiredDirector(stateOf(config, { nodes }), keeping);
    const observed = snapshotFromObjects(
      [...services.values()].map(({ id, spec, destinations }) => ({
        id,
        spec,
        statistics: NO_STATISTICS,
        destinations: destinations.map((item) => ({ ...item, ...counters })),
      })),
    );
    assert.equal(observed.services.count + observed.destinations.count, 12_700);
    const fewer = new Map(services);
    assert.ok(fewer.delete('tcp 192.0.1.7:80'));
    const started = performance.now();
    const { operations } = planDirector({ ...rest, services: fewer }, observed);
    const took = performance.now() - started;
    assert.equal(operations.filter(({ operation }) => operation.op === 'deleteDestination').length, 19);
    assert.equal(operations.filter(({ operation }) => operation.op === 'deleteService').length, 1);
    assert.equal(operations.length, 20);
    assert.ok(took < 100, `took ${took} ms`);
  });

  test('C08c: another scheduler is an edit in place; the destinations stay', async () => {
    const kernel = new FakeKernel();
    await runDirector(kernel, stateOf(web));
    const mh = desiredDirector(stateOf({ '192.0.2.10': { '80': apiAt({ ipvsOptions: { scheduler: 'mh' } }) } }), defaults);
    const { operations } = planDirector(mh, await kernel.ipvs.snapshot());
    assert.deepEqual(texts(operations), ['putService: setService 192.0.2.10:80']);
    await kernel.ipvs.apply(operations.map(({ operation }) => operation));
    const service = (await servicesOf(kernel)).get('tcp 192.0.2.10:80');
    assert.deepEqual(service?.spec, { scheduler: 'mh', schedulerFlags: [1, 2] });
    assert.equal(service.destinations.length, 2);
  });

  test('C08: a service whose destinations were lost gets them back in one pass', async () => {
    const kernel = new FakeKernel();
    await kernel.ipvs.apply([{ op: 'addService', service: webId, spec: { scheduler: 'wrr' } }]);
    await runDirector(kernel, stateOf(web));
    assert.equal((await servicesOf(kernel)).get('tcp 192.0.2.10:80')?.destinations.length, 2);
  });
});
