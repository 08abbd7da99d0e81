/** Named cases C01 to C05, and what is not programmed: from the text of a cluster file to virtual services. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { desiredDirector, directorService } from '../../src/desired/director.ts';
import {
  API,
  apiAt,
  defaults,
  destinationsOf,
  dnsAt,
  keeping,
  n5,
  NODES,
  read,
  runDirector,
  runRealserver,
  servicesOf,
  stateOf,
} from './fixture.ts';
import { FakeKernel } from './kernel.ts';
import { trace, traceDirector } from './trace.ts';
import { web, client, packetTo } from './cases.ts';

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
