/** Objects of the API to what the model keeps of them. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Problem } from '../../src/model/cluster.ts';
import { identityOf, revisionOf, type Json } from '../../src/kubernetes/json.ts';
import { Interner, reduceLease, reduceNode, reduceService } from '../../src/sources/kubernetes/reduce.ts';
import { reduceSlice, SliceIndex, type ReducedSlice } from '../../src/sources/kubernetes/slices.ts';
import { lease, node, service, slice, type ApiObject, type SliceInput } from '../fake-api/objects.ts';

const interner = new Interner();

/** As a server gives it: with a version. */
function stored(object: ApiObject, resourceVersion = '7'): { object: Json; identity: NonNullable<ReturnType<typeof identityOf>> } {
  const whole = { ...object, metadata: { uid: 'u', ...object.metadata, resourceVersion } };
  const identity = identityOf(whole);
  assert.ok(identity);
  return { object: whole, identity };
}

function asService(input: ApiObject): { service: ReturnType<typeof reduceService>; warnings: Problem[] } {
  const warnings: Problem[] = [];
  const { object, identity } = stored(input);
  return { service: reduceService(object, identity, interner, (problem) => warnings.push(problem)), warnings };
}

function asSlice(input: ApiObject, resourceVersion?: string): ReducedSlice | undefined {
  const { object, identity } = stored(input, resourceVersion);
  return reduceSlice(object, identity, interner);
}

function asNode(input: ApiObject): ReturnType<typeof reduceNode> {
  const { object, identity } = stored(input);
  return reduceNode(object, identity, interner);
}

/** Values that are none of what is expected anywhere. */
const junk = [null, undefined, 0, -1, 1.5, NaN, '', 'text', true, [], [[]], {}, [null], [7], ['x'], [{}], { a: { b: [] } }, new Map()];

suite('identity', () => {
  test('name, namespace, uid, version', () => {
    assert.deepEqual(identityOf({ metadata: { name: 'a', namespace: 'b', uid: 'c', resourceVersion: '12' } }), {
      ...{ key: 'b/a', namespace: 'b', name: 'a', uid: 'c', resourceVersion: '12' },
    });
    assert.equal(identityOf({ metadata: { name: 'n1', resourceVersion: '1' } })?.key, 'n1');
  });

  test('nothing without a name and a version', () => {
    for (const object of [
      ...junk,
      { metadata: { name: 'a' } },
      { metadata: { resourceVersion: '1' } },
      { metadata: { name: 7, resourceVersion: 1 } },
    ]) {
      assert.equal(identityOf(object), undefined);
    }
  });

  test('versions are numbers where they can be compared', () => {
    for (const [text, number] of [
      ['1', 1],
      ['9007199254740991', 9007199254740991],
      ...['0', '', '-1', '1.5', '0x10', 'abc', '007', '1e3', '99999999999999999', ' 1'].map((one) => [one, NaN] as const),
    ] as const) {
      assert.equal(revisionOf(text), number, text);
    }
  });
});

suite('Services', () => {
  test('ports with their protocols, nothing else', () => {
    const { service: reduced, warnings } = asService(
      service({
        namespace: 'shop',
        name: 'api',
        ports: [
          { name: 'http', port: 80 },
          { name: 'dns', port: 53, protocol: 'UDP' },
          { name: 'm', port: 99, protocol: 'SCTP' },
        ],
      }),
    );
    assert.deepEqual(reduced, {
      ...{ namespace: 'shop', name: 'api' },
      ports: [
        { name: 'http', port: 80, protocol: 'tcp' },
        { name: 'dns', port: 53, protocol: 'udp' },
        { name: 'm', port: 99, protocol: 'sctp' },
      ],
    });
    assert.deepEqual(warnings, []);
  });

  test('headless and ExternalName are told apart from the others', () => {
    assert.equal(asService(service({ name: 'a' })).service.unsupported, undefined);
    assert.equal(asService(service({ name: 'a', clusterIP: 'None' })).service.unsupported, 'headless');
    assert.equal(asService(service({ name: 'a', type: 'ExternalName' })).service.unsupported, 'externalName');
    assert.equal(asService(service({ name: 'a', type: 'ExternalName', clusterIP: 'None' })).service.unsupported, 'externalName');
    assert.equal(asService(service({ name: 'a', type: 'NodePort' })).service.unsupported, undefined);
    assert.equal(asService(service({ name: 'a', type: 'LoadBalancer' })).service.unsupported, undefined);
  });

  test('drain annotations', () => {
    const annotations = { 'ravel.io/drain-timeout': '30s', 'ravel.io/drain-steps': '4/20s' };
    assert.deepEqual(asService(service({ name: 'a', annotations })).service.drain, {
      timeoutMilliseconds: 30_000,
      steps: { count: 4, milliseconds: 20_000 },
    });
    assert.equal('drain' in asService(service({ name: 'a', annotations: { other: '1' } })).service, false);
  });

  test('annotations that are not understood are ignored, and told', () => {
    const annotations = { 'ravel.io/drain-timeout': 'soon', 'ravel.io/drain-steps': '0/20s' };
    const { service: reduced, warnings } = asService(service({ name: 'a', annotations }));
    assert.equal(reduced.drain, undefined);
    assert.deepEqual(
      warnings.map(({ path }) => path),
      [
        'services."default/a".metadata.annotations."ravel.io/drain-timeout"',
        'services."default/a".metadata.annotations."ravel.io/drain-steps"',
      ],
    );
    assert.match(warnings[0]?.message ?? '', /"soon" is not understood/);
  });

  test('ports that are none are left out', () => {
    const ports = [0, 65536, -1, 1.5, '80', null, NaN].map((port) => ({ name: 'x', port: port as number }));
    assert.deepEqual(asService(service({ name: 'a', ports: [...ports, { name: 'y', port: 1, protocol: 'ICMP' }] })).service.ports, []);
    assert.deepEqual(
      asService({ metadata: { name: 'a' }, spec: { ports: Array.from({ length: 5000 }, () => ({ port: 1 })) } }).service.ports.length,
      1000,
    );
  });

  test('anything of another type is as if it were not there', () => {
    for (const spec of junk)
      assert.deepEqual(asService({ metadata: { name: 'a' }, spec }).service, { namespace: '', name: 'a', ports: [] });
    for (const ports of junk) assert.deepEqual(asService({ metadata: { name: 'a' }, spec: { ports } }).service.ports, []);
    for (const annotations of junk)
      assert.equal(asService({ metadata: { name: 'a', annotations: annotations as Record<string, string> } }).service.drain, undefined);
  });

  test('a hostile key reaches no prototype', () => {
    const hostile = JSON.parse(
      '{"metadata":{"name":"__proto__","namespace":"a","labels":{"__proto__":"x","constructor":"y"}},"spec":{"__proto__":{"clusterIP":"None"}}}',
    ) as ApiObject;
    assert.equal(asService(hostile).service.unsupported, undefined);
    const { labels } = asNode(hostile);
    assert.equal(Object.getPrototypeOf(labels), Object.prototype);
    assert.deepEqual(Object.entries(labels), [
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
    assert.equal(({} as { x?: unknown }).x, undefined);
  });
});

suite('Nodes', () => {
  test('InternalIP addresses in order, labels, readiness', () => {
    const object = node({ name: 'n1', address: '10.20.0.11', labels: { pool: 'lb' } });
    assert.deepEqual(asNode(object), { name: 'n1', addresses: ['10.20.0.11'], labels: { pool: 'lb' }, ready: true, unschedulable: false });
    const addresses = [
      { type: 'ExternalIP', address: '198.51.100.9' },
      { type: 'InternalIP', address: '2001:DB8::0:1' },
      { type: 'InternalIP', address: '10.20.0.16' },
      { type: 'InternalIP', address: '10.20.0.16' },
      { type: 'InternalIP', address: '10.20.0.17' },
      { type: 'Hostname', address: '10.9.9.9' },
    ];
    assert.deepEqual(asNode({ metadata: { name: 'n' }, status: { addresses } }).addresses, ['2001:db8::1', '10.20.0.16', '10.20.0.17']);
  });

  test('addresses that nothing can be sent to are left out', () => {
    const addresses = ['127.0.0.1', '0.0.0.0', '010.1.1.1', '224.0.0.1', 'fe80::1', '::ffff:10.0.0.1', 'node.example', ''].map(
      (address) => ({ type: 'InternalIP', address }),
    );
    assert.deepEqual(asNode({ metadata: { name: 'n' }, status: { addresses } }).addresses, []);
  });

  test('only Ready=True is ready', () => {
    const ready = (conditions: unknown): boolean => asNode({ metadata: { name: 'n' }, status: { conditions } }).ready;
    assert.equal(ready([{ type: 'Ready', status: 'True' }]), true);
    for (const status of ['False', 'Unknown', 'true', true, undefined]) assert.equal(ready([{ type: 'Ready', status }]), false);
    assert.equal(ready([{ type: 'DiskPressure', status: 'True' }]), false);
    for (const conditions of junk) assert.equal(ready(conditions), false);
  });

  test('unschedulable by the field or by its taint', () => {
    const cordoned = (spec: unknown): boolean => asNode({ metadata: { name: 'n' }, spec }).unschedulable;
    assert.equal(cordoned({ unschedulable: true }), true);
    assert.equal(cordoned({ taints: [{ key: 'other' }, { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' }] }), true);
    assert.equal(cordoned({ taints: [{ key: 'node.kubernetes.io/not-ready' }] }), false);
    assert.equal(cordoned({ unschedulable: 'true' }), false);
    for (const spec of junk) assert.equal(cordoned(spec), false);
  });
});

suite('EndpointSlices', () => {
  const one = (rest: Partial<SliceInput> = {}): ApiObject =>
    slice({ service: 'api', endpoints: [{ address: '10.50.1.2', node: 'n1' }], ...rest });

  test('one endpoint for each address and port', () => {
    const ports = [
      { name: 'http', port: 8080 },
      { name: 'admin', port: 9090 },
    ];
    assert.deepEqual(asSlice(one({ ports }), '42'), {
      ...{ service: 'default/api', revision: 42 },
      endpoints: [
        { address: '10.50.1.2', port: 8080, portName: 'http', node: 'n1', ready: true, terminating: false },
        { address: '10.50.1.2', port: 9090, portName: 'admin', node: 'n1', ready: true, terminating: false },
      ],
    });
  });

  test('only the first address of an endpoint means anything; a slice without nodeName has endpoints on no node', () => {
    const object = { ...one(), endpoints: [{ addresses: ['10.50.1.3', '10.50.1.4'], conditions: {} }] };
    assert.deepEqual(
      asSlice(object)?.endpoints.map(({ address, node: on }) => [address, on]),
      [['10.50.1.3', undefined]],
    );
  });

  test('conditions, as the API says what is meant where they are left out', () => {
    const conditions = (value: unknown): unknown => {
      const [found] = asSlice({ ...one(), endpoints: [{ addresses: ['10.50.1.2'], conditions: value }] })?.endpoints ?? [];
      return [found?.ready, found?.terminating, found?.serving];
    };
    for (const [given, expected] of [
      [undefined, [true, false, undefined]],
      [{}, [true, false, undefined]],
      [{ ready: null, serving: null, terminating: null }, [true, false, undefined]],
      [{ ready: true, serving: true, terminating: false }, [true, false, undefined]],
      [{ ready: false, serving: false, terminating: false }, [false, false, undefined]],
      [{ ready: false, serving: true, terminating: true }, [false, true, undefined]],
      [{ ready: false, serving: false, terminating: true }, [false, true, false]],
      [{ ready: false, terminating: true }, [false, true, false]],
      // publishNotReadyAddresses: ready is true whatever the probe says.
      [{ ready: true, serving: true, terminating: true }, [false, true, undefined]],
      [{ ready: true, serving: false, terminating: false }, [true, false, false]],
      [{ ready: false, serving: true, terminating: false }, [false, false, true]],
      [{ ready: 'false', terminating: 'true' }, [true, false, undefined]],
    ] as const) {
      assert.deepEqual(conditions(given), expected, JSON.stringify(given));
    }
  });

  test('host names, slices of nobody and addresses of the other family are ignored', () => {
    assert.equal(asSlice(one({ addressType: 'FQDN' })), undefined);
    assert.equal(asSlice(one({ addressType: 'ipv4' })), undefined);
    assert.equal(asSlice({ ...one(), metadata: { name: 'x', namespace: 'default' } }), undefined);
    assert.deepEqual(asSlice(one({ addressType: 'IPv6' }))?.endpoints, []);
    const six = one({ addressType: 'IPv6', endpoints: [{ address: '2001:DB8:0::2' }, { address: '10.0.0.1' }] });
    assert.deepEqual(
      asSlice(six)?.endpoints.map(({ address }) => address),
      ['2001:db8::2'],
    );
  });

  test('a slice with all ports (null), or junk for ports, has no endpoint that traffic could be sent to', () => {
    for (const ports of [...junk, [{ name: 'x', port: null }], [{ name: 'x', port: 0 }], [{ port: '80' }]]) {
      assert.deepEqual(asSlice({ ...one(), ports })?.endpoints, []);
    }
    for (const endpoints of [
      ...junk,
      [{ addresses: [] }],
      [{ addresses: ['010.0.0.1'] }],
      [{ addresses: [7] }],
      [{ addresses: '10.0.0.1' }],
    ]) {
      assert.deepEqual(asSlice({ ...one(), endpoints })?.endpoints, []);
    }
  });

  test('more than the API allows is cut', () => {
    const endpoints = Array.from({ length: 3000 }, (_, index) => ({ address: `10.${index >> 8}.${index & 255}.1` }));
    assert.equal(asSlice(one({ endpoints }))?.endpoints.length, 1000);
  });

  test('texts are shared among objects', () => {
    const shared = new Interner();
    const text = (): string => ['no', 'de', String(1)].join('');
    assert.ok(Object.is(shared.share(text()), shared.share(text())));
    for (let index = 0; index < 25_000; index++) shared.share(`name${index}`);
    assert.equal(shared.share('name1'), 'name1');
  });
});

suite('the slices of a Service', () => {
  const piece = (revision: number, ...pods: readonly (readonly [string, boolean])[]): ReducedSlice => ({
    ...{ service: 'default/api', revision },
    endpoints: pods.map(([address, ready]) => ({ address, port: 80, portName: 'http', node: 'n1', ready, terminating: false })),
  });
  const listed = (index: SliceIndex, service = 'default/api'): string[] =>
    index.endpointsOf(service).endpoints.map(({ address, ready }) => `${address}${ready ? '' : ' not ready'}`);

  test('a hundred slices are one list, sorted', () => {
    const index = new SliceIndex();
    const addresses = Array.from({ length: 1000 }, (_, at) => `10.50.${at >> 6}.${at & 63}`);
    for (let at = 99; at >= 0; at--) {
      const touched = index.put(
        `default/api-${at}`,
        piece(at + 1, ...addresses.filter((_, pod) => pod % 100 === at).map((address) => [address, true] as const)),
      );
      assert.deepEqual(touched, ['default/api']);
    }
    assert.deepEqual(listed(index), [...addresses].sort());
    assert.equal(index.endpointsOf('default/api').revision, 100);
  });

  test('an endpoint in two slices counts once, as the newer slice says', () => {
    for (const [first, second] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      const index = new SliceIndex();
      index.put(`default/${first}`, piece(7, ['10.0.0.1', true], ['10.0.0.2', true]));
      index.put(`default/${second}`, piece(8, ['10.0.0.2', false], ['10.0.0.3', true]));
      assert.deepEqual(listed(index), ['10.0.0.1', '10.0.0.2 not ready', '10.0.0.3']);
      index.put(`default/${first}`, piece(9, ['10.0.0.1', true], ['10.0.0.2', true]));
      assert.deepEqual(listed(index), ['10.0.0.1', '10.0.0.2', '10.0.0.3']);
    }
  });

  test('a slice that goes to another Service leaves the first one', () => {
    const index = new SliceIndex();
    index.put('default/a', piece(1, ['10.0.0.1', true]));
    assert.deepEqual(index.put('default/a', { ...piece(2, ['10.0.0.1', true]), service: 'default/other' }), [
      'default/api',
      'default/other',
    ]);
    assert.deepEqual([listed(index), listed(index, 'default/other')], [[], ['10.0.0.1']]);
    assert.deepEqual(index.remove('default/a'), ['default/other']);
    assert.deepEqual(index.remove('default/a'), []);
    assert.deepEqual(index.endpointsOf('default/other'), { endpoints: [], revision: undefined });
  });

  test('versions that are no numbers give no revision', () => {
    const index = new SliceIndex();
    index.put('default/a', piece(NaN, ['10.0.0.1', true]));
    assert.equal(index.endpointsOf('default/api').revision, undefined);
  });
});

suite('leases of realservers', () => {
  const asLease = (object: ApiObject): unknown => {
    const { object: whole, identity } = stored(object);
    return reduceLease(whole, identity, interner);
  };

  test('node and revision', () => {
    assert.deepEqual(asLease(lease('lb', 'n1', '42')), { node: 'n1', revision: 42 });
  });

  test('a lease that says nothing, or speaks for another node, is none', () => {
    assert.equal(asLease(lease('lb', 'n1', undefined)), undefined);
    assert.equal(asLease(lease('lb', 'n1', 'soon')), undefined);
    assert.equal(asLease({ ...lease('lb', 'n1', '42'), spec: { holderIdentity: 'n2' } }), undefined);
    for (const spec of junk) assert.equal(asLease({ ...lease('lb', 'n1', '42'), spec }), undefined);
  });
});
