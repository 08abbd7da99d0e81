/** The named cases, from the text of a cluster file to the state of a kernel. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { desiredDirector, directorService } from '../../src/desired/director.ts';
import { desiredRealserver } from '../../src/desired/realserver.ts';
import { diffNat } from '../../src/diff/nat.ts';
import { snapshotFromObjects, NO_STATISTICS } from '../../src/native/ipvs-columns.ts';
import type { DestinationSpec, IpvsOperation, Service, ServiceId, ServiceSpec } from '../../src/native/ipvs-types.ts';
import type { NftOperation } from '../../src/native/nftables-types.ts';
import { NAT_TABLE } from '../../src/diff/nat-layout.ts';
import { setsOf } from './nft-tables.ts';
import { picture, readNat } from '../property/nat-history.ts';
import {
  API,
  apiAt,
  defaults,
  destinationsOf,
  dnsAt,
  keeping,
  n5,
  NODES,
  planDirector,
  read,
  runDirector,
  runRealserver,
  servicesOf,
  stateOf,
} from './fixture.ts';
import { FakeKernel } from './kernel.ts';
import { trace, traceDirector, traceNode } from './trace.ts';

const web = { '192.0.2.10': { '80': apiAt() } };
const client = '198.51.100.7';
const packetTo = (destination: string, port: number, protocol = 6, source = client) => ({ source, destination, protocol, port });

suite('C01 weights follow ready pods per node', () => {
  test('C01: three ready pods on n1 and one on n2; destination port is the VIP port', async () => {
    const kernel = new FakeKernel();
    await runDirector(kernel, stateOf(web));
    const services = await servicesOf(kernel);
    assert.deepEqual([...services.keys()], ['tcp 192.0.2.10:80']);
    assert.deepEqual(services.get('tcp 192.0.2.10:80')?.spec, { scheduler: 'wrr' });
    assert.deepEqual(destinationsOf(services.get('tcp 192.0.2.10:80')), ['10.20.0.11:80 DR w3 x0 y0', '10.20.0.12:80 DR w1 x0 y0']);
  });

  test('C01: weight override', () => {
    const { services } = desiredDirector(stateOf(web), { ...defaults, weightOverride: true });
    const destinations = services.get('tcp 192.0.2.10:80')?.destinations.map(({ id, spec }) => [id.address, spec.weight]);
    assert.deepEqual(destinations, [
      ['10.20.0.11', 1],
      ['10.20.0.12', 1],
    ]);
  });

  test('C01: a ready node without a pod is there with weight 0 where idle destinations are kept, also under weight override', () => {
    for (const weightOverride of [false, true]) {
      const { services } = desiredDirector(stateOf(web, { nodes: [...NODES, n5] }), { ...keeping, weightOverride });
      const weights = new Map(services.get('tcp 192.0.2.10:80')?.destinations.map(({ id, spec }) => [id.address, spec.weight]));
      assert.equal(weights.get('10.20.0.15'), 0);
      assert.equal(weights.size, 3);
    }
  });

  test('C01: by default a ready node without a pod is no destination', async () => {
    const kernel = new FakeKernel();
    await runDirector(kernel, stateOf(web, { nodes: [...NODES, n5] }));
    const service = (await servicesOf(kernel)).get('tcp 192.0.2.10:80');
    assert.deepEqual(destinationsOf(service), ['10.20.0.11:80 DR w3 x0 y0', '10.20.0.12:80 DR w1 x0 y0']);
  });

  test('C01: each pod of the cluster gets a quarter of the connections', async () => {
    const state = stateOf(web);
    const director = new FakeKernel();
    await runDirector(director, state);
    const nodes = new Map([
      ['10.20.0.11', new FakeKernel()],
      ['10.20.0.12', new FakeKernel()],
    ]);
    await runRealserver(nodes.get('10.20.0.11')!, state, 'n1');
    await runRealserver(nodes.get('10.20.0.12')!, state, 'n2');
    assert.deepEqual(
      trace(director, nodes, packetTo('192.0.2.10', 80)).map(({ at, source, share }) => [at, source, share.toFixed(6)]),
      ['10.50.1.2:8080', '10.50.1.3:8080', '10.50.1.4:8080', '10.50.2.2:8080'].map((pod) => [pod, client, '0.250000']),
    );
  });

  test('C01: a terminating pod does not count', () => {
    const api = API.map((endpoint) => (endpoint.address === '10.50.1.2' ? { ...endpoint, terminating: true } : endpoint));
    const state = stateOf(web, { api });
    assert.equal(desiredDirector(state, defaults).services.get('tcp 192.0.2.10:80')?.destinations[0]?.spec.weight, 2);
  });
});

suite('C03 connection thresholds', () => {
  const withLimits = (uThreshold: number, lThreshold: number) =>
    stateOf({ '192.0.2.10': { '80': apiAt({ ipvsOptions: { uThreshold, lThreshold } }) } });
  const limits = (uThreshold: number, lThreshold: number, options: Parameters<typeof desiredDirector>[1]) =>
    desiredDirector(withLimits(uThreshold, lThreshold), options)
      .services.get('tcp 192.0.2.10:80')
      ?.destinations.map(({ id, spec }) => `${id.address} x${spec.upperThreshold ?? 0} y${spec.lowerThreshold ?? 0}`);

  for (const [upper, lower, expected] of [
    [6000, 3000, 'x1500 y750'],
    [262140, 4, 'x65535 y1'],
    [262144, 4, 'x0 y0'],
    [10, 10, 'x0 y0'],
    [0, 5, 'x0 y0'],
    [7, -2, 'x1 y0'],
    [-3, -9, 'x0 y0'],
  ] as const) {
    test(`C03: divided by all known nodes, U ${upper} L ${lower}`, () => {
      assert.deepEqual(limits(upper, lower, { ignoreCordon: false, thresholdDivisor: 'nodes' }), [`10.20.0.11 ${expected}`]);
    });
  }

  test('C03: divided by weight, the default', () => {
    assert.deepEqual(limits(8000, 4000, defaults), ['10.20.0.11 x6000 y3000', '10.20.0.12 x2000 y1000']);
  });

  test('C03: a share that rounds down to nothing stays a limit', () => {
    assert.deepEqual(limits(2, 1, defaults), ['10.20.0.11 x1 y0', '10.20.0.12 x1 y0']);
  });

  test('C03: the same thresholds a second time change nothing in the kernel', async () => {
    const kernel = new FakeKernel();
    await runDirector(kernel, withLimits(8000, 4000));
    assert.deepEqual(destinationsOf((await servicesOf(kernel)).get('tcp 192.0.2.10:80')), [
      '10.20.0.11:80 DR w3 x6000 y3000',
      '10.20.0.12:80 DR w1 x2000 y1000',
    ]);
    kernel.journal.clear();
    await runDirector(kernel, withLimits(8000, 4000));
    assert.equal(kernel.writes, 0);
  });
});

suite('C04 option normalisation never rejects', () => {
  for (const [ipvsOptions, scheduler, flags, forward, coercions] of [
    [{ scheduler: ' RR ' }, 'rr', [], 'direct', 0],
    [{ scheduler: 'MH' }, 'mh', [1, 2], 'direct', 0],
    [{ scheduler: 'mh', flags: 'flag-2' }, 'mh', [2], 'direct', 0],
    [{ scheduler: 'sh', flags: 'flag-1' }, 'sh', [1], 'direct', 0],
    [{ scheduler: 'sed' }, 'sed', [], 'direct', 0],
    [{ scheduler: 'lblc' }, 'lblc', [], 'direct', 0],
    [{ scheduler: 'xyz' }, 'wrr', [], 'direct', 1],
    [{ forwardingMethod: 'i' }, 'wrr', [], 'tunnel', 0],
    [{ forwardingMethod: '' }, 'wrr', [], 'direct', 0],
    [{ forwardingMethod: 'I' }, 'wrr', [], 'direct', 1],
    [{ forwardingMethod: 'm' }, 'wrr', [], 'masquerade', 0],
    [{ forwardingMethod: 'q' }, 'wrr', [], 'direct', 1],
  ] as const) {
    test(`C04: ${JSON.stringify(ipvsOptions)}`, async () => {
      const config = { '192.0.2.10': { '80': apiAt({ ipvsOptions }) } };
      // Told once, with the input that it is in; the passes that follow have nothing to tell.
      const { coercions: told } = read(config);
      assert.equal(told.length, coercions, JSON.stringify(told));
      const kernel = new FakeKernel();
      await runDirector(kernel, stateOf(config));
      const service = (await servicesOf(kernel)).get('tcp 192.0.2.10:80');
      assert.deepEqual(service?.spec, flags.length === 0 ? { scheduler } : { scheduler, schedulerFlags: flags });
      assert.deepEqual([...new Set(service.destinations.map(({ spec }) => spec.forward))], [forward]);
    });
  }
});

suite('C05 TCP and UDP on one port', () => {
  const config = {
    '192.0.2.11': {
      '53': dnsAt({ tcpEnabled: true, udpEnabled: true, ipvsOptions: { scheduler: 'rr', forwardingMethod: 'i' } }),
      '54': dnsAt(),
    },
  };

  test('C05: two independent services; absent keys mean tcp', async () => {
    const kernel = new FakeKernel();
    await runDirector(kernel, stateOf(config), keeping);
    const services = await servicesOf(kernel);
    assert.deepEqual([...services.keys()].sort(), ['tcp 192.0.2.11:53', 'tcp 192.0.2.11:54', 'udp 192.0.2.11:53']);
    for (const key of ['tcp 192.0.2.11:53', 'udp 192.0.2.11:53']) {
      assert.equal(services.get(key)?.spec.scheduler, 'rr');
      assert.deepEqual(destinationsOf(services.get(key)), ['10.20.0.11:53 TUN w1 x0 y0', '10.20.0.12:53 TUN w0 x0 y0']);
    }
  });

  test('C05: neither protocol is no service, a warning, and no announcement', () => {
    const neither = { '192.0.2.11': { '53': dnsAt({ tcpEnabled: false, udpEnabled: false }) } };
    assert.equal(read(neither).warnings.filter(({ path }) => path.includes('192.0.2.11')).length, 1);
    const { services, announce } = desiredDirector(stateOf(neither), defaults);
    assert.deepEqual([[...services], announce], [[], []]);
  });
});

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

const webId: ServiceId = { protocol: 'tcp', address: '192.0.2.10', port: 80 };

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
          { '10.20.0.15': tunnel(0), '10.20.0.11': tunnel(3), '10.20.0.12': tunnel(1) },
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

suite('C09 foreign state is untouchable', () => {
  const foreignIpvs: readonly IpvsOperation[] = [
    { op: 'addService', service: { protocol: 'tcp', address: '10.96.0.1', port: 443 }, spec: { scheduler: 'rr' } },
    {
      op: 'addDestination',
      service: { protocol: 'tcp', address: '10.96.0.1', port: 443 },
      destination: { address: '10.20.0.1', port: 6443 },
      spec: { forward: 'masquerade', weight: 1 },
    },
    { op: 'addService', service: { fwmark: 9, family: 'ipv4' }, spec: { scheduler: 'wlc' } },
  ];
  const foreignTable = { family: 'ip', name: 'nat' } as const;
  const foreignRules: readonly NftOperation[] = [
    { op: 'addTable', table: foreignTable },
    { op: 'addChain', table: foreignTable, chain: { name: 'RAVELIN' } },
    { op: 'addRule', table: foreignTable, rule: { chain: 'RAVELIN', statements: [{ kind: 'counter' }] } },
  ];

  async function machine(): Promise<FakeKernel> {
    const kernel = new FakeKernel();
    await kernel.ipvs.apply(foreignIpvs);
    kernel.links.applyAsOther([
      { op: 'addDummy', name: 'kube-ipvs0' },
      { op: 'addAddress', interface: 'kube-ipvs0', address: '10.96.0.1', prefix: 32 },
      { op: 'addDummy', name: 'nodelocaldns', up: true },
      { op: 'addAddress', interface: 'nodelocaldns', address: '169.254.20.10', prefix: 32 },
      { op: 'addDummy', name: 'dummy7' },
    ]);
    kernel.nftables.commitAsOther(foreignRules);
    return kernel;
  }

  async function foreignState(kernel: FakeKernel): Promise<unknown> {
    const links = (await kernel.links.links()).filter(({ name }) => name !== 'ravel0');
    const addresses = (await kernel.links.addresses()).filter(({ interfaceIndex }) => links.some(({ index }) => index === interfaceIndex));
    const services = [...(await servicesOf(kernel))]
      .filter(([key]) => !key.includes('192.0.2.'))
      .map(([key, service]) => [key, service.spec, destinationsOf(service)]);
    return { links, addresses, services, table: await picture(kernel.nftables, foreignTable) };
  }

  test('C09: nothing of others changes while our VIPs come, change and go', async () => {
    const kernel = await machine();
    const before = await foreignState(kernel);
    const two = { ...web, '192.0.2.11': { '53': dnsAt({ udpEnabled: true }) } };
    for (const state of [stateOf(web), stateOf(two), stateOf(two, { api: API.slice(1) }), stateOf(web), stateOf({})]) {
      await runDirector(kernel, state);
      await runRealserver(kernel, state, 'n1', { masquerade: { enabled: true } });
      assert.deepEqual(await foreignState(kernel), before);
    }
    assert.deepEqual([...(await servicesOf(kernel)).keys()].sort(), ['fwmark 9', 'tcp 10.96.0.1:443'], 'all of ours is gone');
  });

  test('C09: a foreign service in the place of ours is taken over and named', async () => {
    const kernel = new FakeKernel();
    await kernel.ipvs.apply([
      { op: 'addService', service: webId, spec: { scheduler: 'rr' } },
      {
        op: 'addDestination',
        service: webId,
        destination: { address: '10.50.1.2', port: 8080 },
        spec: { forward: 'local', weight: 1 },
      },
    ]);
    const desired = desiredDirector(stateOf(web), defaults);
    const { foreign, operations } = planDirector(desired, await kernel.ipvs.snapshot());
    assert.deepEqual(
      foreign.map(({ key, adopted }) => [key, adopted]),
      [['tcp 192.0.2.10:80', true]],
    );
    assert.match(foreign[0]?.message ?? '', /local/);
    assert.deepEqual((await kernel.ipvs.apply(operations.map(({ operation }) => operation))).failed, []);
    assert.deepEqual(planDirector(desired, await kernel.ipvs.snapshot()), { operations: [], foreign: [] });
  });

  test('C09: a foreign service on another port of our VIP is left alone and named', async () => {
    const kernel = new FakeKernel();
    const other: ServiceId = { protocol: 'tcp', address: '192.0.2.10', port: 8443 };
    await kernel.ipvs.apply([
      { op: 'addService', service: other, spec: { scheduler: 'rr' } },
      {
        op: 'addDestination',
        service: other,
        destination: { address: '10.50.1.2', port: 8443 },
        spec: { forward: 'local', weight: 1 },
      },
    ]);
    await runDirector(kernel, stateOf(web));
    const { foreign, operations } = planDirector(desiredDirector(stateOf(web), defaults), await kernel.ipvs.snapshot());
    assert.deepEqual([operations, foreign.map(({ key, adopted }) => [key, adopted])], [[], [['tcp 192.0.2.10:8443', false]]]);
    assert.equal((await servicesOf(kernel)).get('tcp 192.0.2.10:8443')?.destinations.length, 1);
  });
});

suite('C12 worker nat rules: local pods only', () => {
  const config = { '192.0.2.10': { '80': apiAt() }, '192.0.2.11': { '8443': apiAt() } };

  test('C12: each local pod gets a third, on both VIPs; the pod of another node gets nothing', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    for (const packet of [packetTo('192.0.2.10', 80), packetTo('192.0.2.11', 8443)]) {
      assert.deepEqual(
        traceNode(kernel, packet).map(({ at, source, share }) => [at, source, share.toFixed(6)]),
        ['10.50.1.2:8080', '10.50.1.3:8080', '10.50.1.4:8080'].map((pod) => [pod, client, '0.333333']),
      );
    }
  });

  test('C12: other ports, protocols and addresses pass untouched', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    for (const packet of [packetTo('192.0.2.10', 81), packetTo('192.0.2.10', 80, 17), packetTo('192.0.2.12', 80)]) {
      assert.deepEqual(traceNode(kernel, packet), [{ at: `${packet.destination}:${packet.port}`, source: client, share: 1 }]);
    }
  });

  test('C12: both VIPs share one chain; a single hook leads to it', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    const table = kernel.nftables.table(NAT_TABLE);
    assert.deepEqual([...(table?.chains.keys() ?? [])].sort(), ['output', 'pods-tcp-3', 'postrouting', 'prerouting']);
    const looks = (chain: string) => table?.chains.get(chain)?.rules.map(({ rule }) => setsOf(rule.statements));
    assert.deepEqual([looks('prerouting'), looks('output')], Array(2).fill([['services'], ['inside']]));
    assert.equal(table?.sets.get('services')?.elements.size, 2);
  });

  test('C12: a pod that calls its own VIP is masqueraded when it meets itself, and only then', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    assert.deepEqual(
      traceNode(kernel, packetTo('192.0.2.10', 80, 6, '10.50.1.3')).map(({ at, source }) => [at, source]),
      [
        ['10.50.1.2:8080', '10.50.1.3'],
        ['10.50.1.3:8080', 'masqueraded'],
        ['10.50.1.4:8080', '10.50.1.3'],
      ],
    );
  });

  test('C12: a node without a pod has the skeleton only, and says why', async () => {
    const kernel = new FakeKernel();
    const state = stateOf(config);
    await runRealserver(kernel, state, 'n4');
    assert.deepEqual([...(kernel.nftables.table(NAT_TABLE)?.chains.keys() ?? [])].sort(), ['output', 'postrouting', 'prerouting']);
    assert.deepEqual(traceNode(kernel, packetTo('192.0.2.10', 80)), [{ at: '192.0.2.10:80', source: client, share: 1 }]);
    const { reasons } = desiredRealserver(state, 'n4');
    assert.deepEqual(
      [...reasons.values()].map(({ code }) => code),
      ['NoLocalEndpoints', 'NoLocalEndpoints'],
    );
  });

  test('C12: udp', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf({ '192.0.2.11': { '53': dnsAt({ tcpEnabled: false, udpEnabled: true }) } }), 'n1');
    assert.deepEqual(traceNode(kernel, packetTo('192.0.2.11', 53, 17)), [{ at: '10.50.1.20:5353', source: client, share: 1 }]);
    assert.deepEqual(traceNode(kernel, packetTo('192.0.2.11', 53, 6)), [{ at: '192.0.2.11:53', source: client, share: 1 }]);
  });

  test('C12: pods of the host network that share an address are one endpoint', () => {
    const [pod] = API;
    assert.ok(pod);
    const host = { ...pod, address: '10.20.0.11' };
    const state = stateOf(web, { api: [host, host, { ...host }] });
    assert.deepEqual(desiredRealserver(state, 'n1').services.get('tcp 192.0.2.10:80')?.pods, [{ address: '10.20.0.11', port: 8080 }]);
    assert.equal(desiredDirector(state, defaults).services.get('tcp 192.0.2.10:80')?.destinations[0]?.spec.weight, 1);
  });

  test('C12: unchanged, nothing is written; one pod more is one transaction', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(config), 'n1');
    kernel.journal.clear();
    await runRealserver(kernel, stateOf(config), 'n1');
    assert.equal(kernel.writes, 0);
    const [pod] = API;
    assert.ok(pod);
    const more = desiredRealserver(stateOf(config, { api: [...API, { ...pod, address: '10.50.1.5' }] }), 'n1');
    const { transactions } = diffNat(await readNat(kernel.nftables), more);
    assert.equal(transactions.length, 1);
    await kernel.nftables.commit(transactions[0]!);
    assert.equal(traceNode(kernel, packetTo('192.0.2.10', 80)).length, 4);
  });
});

suite('C13 masquerade variants', () => {
  const marked = { enabled: true } as const;

  test('C13a: off, pods see the client; no rule marks anything, whatever the policy', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: marked });
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: { enabled: false } });
    const rules = [...(kernel.nftables.table(NAT_TABLE)?.chains.values() ?? [])].flatMap((chain) =>
      chain.rules.flatMap(({ rule }) => rule.statements),
    );
    assert.deepEqual(
      rules.filter(({ kind }) => kind === 'markOr' || kind === 'markIs'),
      [],
    );
    assert.deepEqual([...new Set(traceNode(kernel, packetTo('192.0.2.10', 80)).map(({ source }) => source))], [client]);
  });

  test('C13b: on, pods see the node', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: marked });
    assert.deepEqual([...new Set(traceNode(kernel, packetTo('192.0.2.10', 80)).map(({ source }) => source))], ['masqueraded']);
  });

  test('C13b: with a pod prefix, only sources outside it are masqueraded, by one rule', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: { enabled: true, exceptSource: { address: '10.50.0.0', prefix: 16 } } });
    const sources = (source: string) => [
      ...new Set(traceNode(kernel, packetTo('192.0.2.10', 80, 6, source)).map(({ source: seen }) => seen)),
    ];
    assert.deepEqual(sources(client), ['masqueraded']);
    assert.deepEqual(sources('10.50.2.99'), ['10.50.2.99']);
    assert.deepEqual(sources('10.51.0.1'), ['masqueraded']);
    const rules = kernel.nftables.table(NAT_TABLE)?.chains.get('postrouting')?.rules ?? [];
    assert.deepEqual(rules.find(({ rule }) => rule.comment === 'masquerade policy')?.rule.statements, [
      { kind: 'destinationTranslated' },
      { kind: 'inSet', key: ['ct original ip daddr'], set: 'addresses' },
      { kind: 'source', address: '10.50.0.0', prefix: 16, inverted: true },
      { kind: 'masquerade' },
    ]);
  });

  test('C13: a change of policy keeps every VIP working at each step', async () => {
    const kernel = new FakeKernel();
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: marked });
    await runRealserver(kernel, stateOf(web), 'n1', { masquerade: { enabled: false } });
    assert.deepEqual([...new Set(traceNode(kernel, packetTo('192.0.2.10', 80)).map(({ source }) => source))], [client]);
    assert.equal(kernel.nftables.table(NAT_TABLE)?.sets.get('addresses')?.elements.size, 1);
  });
});

suite('what is not programmed says why', () => {
  const state = stateOf({
    '192.0.2.10': { '80': apiAt(), '81': { namespace: 'shop', service: 'idle', portName: 'http' } },
    '192.0.2.12': { '80': { namespace: 'shop', service: 'idle', portName: 'http' } },
  });

  test('no endpoint: not programmed, not announced, the address stays placed', () => {
    const { services, announce, addresses, reasons } = desiredDirector(state, defaults);
    assert.deepEqual([...services.keys()], ['tcp 192.0.2.10:80']);
    assert.deepEqual(announce, ['192.0.2.10']);
    assert.deepEqual(addresses, ['192.0.2.10', '192.0.2.12']);
    assert.deepEqual([...reasons].map(([key, { code }]) => [key, code]).sort(), [
      ['tcp 192.0.2.10:81', 'NoEndpoints'],
      ['tcp 192.0.2.12:80', 'NoEndpoints'],
    ]);
  });

  test('no ready endpoint: not programmed, or at weight 0 where idle destinations are kept; not announced', async () => {
    const none = stateOf(web, { api: API.map((endpoint) => ({ ...endpoint, ready: false })) });
    for (const options of [defaults, keeping]) {
      const { announce, reasons } = desiredDirector(none, options);
      assert.deepEqual([announce, reasons.get('tcp 192.0.2.10:80')?.code], [[], 'NoEndpoints']);
    }
    const kernel = new FakeKernel();
    await runDirector(kernel, none);
    assert.deepEqual([...(await servicesOf(kernel))], []);
    await runDirector(kernel, none, keeping);
    assert.deepEqual(destinationsOf((await servicesOf(kernel)).get('tcp 192.0.2.10:80')), [
      '10.20.0.11:80 DR w0 x0 y0',
      '10.20.0.12:80 DR w0 x0 y0',
    ]);
    assert.deepEqual([...traceDirector(kernel, packetTo('192.0.2.10', 80))], []);
  });

  test('no eligible node, no address of the family, no pod on an eligible node', () => {
    const code = (options: Parameters<typeof stateOf>[1], ignoreCordon = true) => {
      const other = stateOf(web, options);
      const [virtualService] = other.virtualServices.values();
      assert.ok(virtualService);
      return directorService(other, virtualService, { ignoreCordon }).reason?.code;
    };
    assert.equal(code({ labels: { pool: 'other' } }), 'NoEligibleNode');
    assert.equal(code({ nodes: [{ ...NODES[0]!, addresses: ['2001:db8:1::11'] }] }), 'NodeHasNoAddress');
    assert.equal(code({ nodes: [NODES[0]!, n5], api: API.filter(({ node }) => node === 'n2') }), 'NoEligibleNode');
    assert.equal(code({}), undefined);
  });
});
