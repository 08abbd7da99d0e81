/** The named cases about what of a configuration is programmed, from the objects of an API server to the state of a kernel. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { resources } from '../../src/kubernetes/api.ts';
import type { AgentOptions, Mode } from '../../src/modes/options.ts';
import { node, service, slice, type EndpointInput } from '../fake-api/objects.ts';
import { ClusterRig } from './cluster-rig.ts';

/** Realservers that could confirm anything are not part of these cases. */
const unconfirmed = { readinessMilliseconds: 0 } as const;

const target = (name: string, portName = 'http', namespace = 'shop') => ({ namespace, service: name, portName });

const admission = {
  '192.0.2.10': {
    '80': target('api'),
    '81': target('idle'),
    '82': target('db', 'sql'),
    '83': target('api', 'nosuch'),
    '84': target('gone', 'http', 'gone'),
    '85': target('elsewhere'),
  },
  '192.0.2.12': { '80': target('idle') },
};
const admission6 = {
  '2001:db8::10': {
    '80': target('api'),
    '81': target('idle'),
    '82': target('db', 'sql'),
    '83': target('api', 'nosuch'),
    '84': target('gone', 'http', 'gone'),
    '85': target('elsewhere'),
  },
  '2001:db8::12': { '80': target('idle') },
};

/** The addresses of a family for what the cases say in IPv4. */
const families = {
  4: { type: 'IPv4', api: (last: string) => `10.50.${last}`, nodes: '10.20.0.1', main: '192.0.2.10', other: '192.0.2.12' },
  6: {
    type: 'IPv6',
    api: (last: string) => `2001:db8:50::${last.replace('.', ':')}`,
    nodes: '2001:db8:20::1',
    main: '2001:db8::10',
    other: '2001:db8::12',
  },
} as const;
type Family = keyof typeof families;

function pods(
  rig: ClusterRig,
  name: string,
  endpoints: readonly EndpointInput[],
  family: Family,
  port = { name: 'http', port: 8080 },
): void {
  rig.api.store.put(
    resources.endpointSlices,
    slice({
      ...{ namespace: 'shop', service: name, name: `${name}-${family}`, addressType: families[family].type },
      ports: [port],
      endpoints,
    }),
  );
}

/** The cluster that the cases share, with the addresses of both families. */
async function cluster(mode: Mode, config: Readonly<Record<string, unknown>>, options: Partial<AgentOptions> = {}): Promise<ClusterRig> {
  const rig = await ClusterRig.create(mode, { ...unconfirmed, ...options });
  const { store } = rig.api;
  const nodes = [
    ['n1', { labels: { pool: 'lb' } }],
    ['n2', { labels: { pool: 'lb' }, unschedulable: true }],
    ['n3', { labels: { pool: 'lb' }, ready: false }],
    ['n4', {}],
  ] as const;
  nodes.forEach(([name, rest], index) => {
    const object = node({ name, address: `${families[4].nodes}${index + 1}`, ...rest });
    const addresses = [
      ...(object['status'] as { addresses: object[] }).addresses,
      { type: 'InternalIP', address: `${families[6].nodes}${index + 1}` },
    ];
    store.put(resources.nodes, { ...object, status: { ...(object['status'] as object), addresses } });
  });
  const serviceOf = (name: string, port: string, rest: object = {}): void =>
    void store.put(resources.services, service({ namespace: 'shop', name, ports: [{ name: port, port: 80 }], ...rest }));
  serviceOf('api', 'http');
  serviceOf('idle', 'http');
  serviceOf('db', 'sql', { clusterIP: 'None' });
  serviceOf('elsewhere', 'http', { type: 'ExternalName' });
  store.put(resources.services, service({ namespace: 'ops', name: 'canary', ports: [{ name: 'http', port: 70 }] }));
  for (const family of [4, 6] as const) {
    const { api, type } = families[family];
    pods(
      rig,
      'api',
      [
        ...['1.2', '1.3', '1.4'].map((last) => ({ address: api(last), node: 'n1' })),
        { address: api('2.2'), node: 'n2' },
        { address: api('1.9'), node: 'n1', ready: false },
      ],
      family,
    );
    pods(rig, 'db', [{ address: api('2.5'), node: 'n2' }], family, { name: 'sql', port: 5432 });
    pods(rig, 'idle', [], family);
    store.put(
      resources.endpointSlices,
      slice({
        ...{ namespace: 'ops', service: 'canary', name: `canary-${family}`, addressType: type },
        endpoints: [{ address: api('1.70'), node: 'n1' }],
      }),
    );
  }
  rig.configure({ labels: { pool: 'lb' }, ...config });
  await rig.start();
  await rig.advance(1000);
  return rig;
}

const announced = (rig: ClusterRig): string[] => rig.document.vips.filter((vip) => vip.announced === true).map(({ address }) => address);
const reasons = (rig: ClusterRig): Record<string, string> =>
  Object.fromEntries(Object.entries(rig.document.reasons).map(([key, { code }]) => [key, code]));

for (const family of [4, 6] as const) {
  const { api, nodes, main, other } = families[family];
  const config = family === 4 ? { config: admission } : { config: {}, config6: admission6 };
  const at = (vip: string, port: number): string => (family === 4 ? `tcp ${vip}:${port}` : `tcp [${vip}]:${port}`);
  const balanced = (rig: ClusterRig): string[] => rig.balanced.sort();
  // As the rig writes it.
  const plain = (vip: string, port: number): string => `tcp ${vip}:${port}`;
  const api80 = `${plain(main, 80)} ${nodes}1=3 ${nodes}2=1`;

  suite(`C10 service filtering and VIP admission, IPv${family}`, () => {
    test('C10: only what has endpoints is programmed; each of the others has its reason', async () => {
      const rig = await cluster('director', config);
      assert.deepEqual(balanced(rig), [api80]);
      assert.deepEqual(reasons(rig), {
        [at(main, 81)]: 'NoEndpoints',
        [at(main, 82)]: 'ServiceHeadless',
        [at(main, 83)]: 'PortMissing',
        [at(main, 84)]: 'ServiceMissing',
        [at(main, 85)]: 'ServiceExternalName',
        [at(other, 80)]: 'NoEndpoints',
      });
      await rig.stop();
    });

    test('C10: a VIP with an endpoint is announced, one without keeps its entry and its reason and is not', async () => {
      const rig = await cluster('director', config);
      assert.deepEqual(announced(rig), [main]);
      const idle = rig.document.vips.find(({ address }) => address === other);
      assert.equal(idle?.announced, false);
      assert.equal(idle.reason?.code, 'NoEndpoints');
      await rig.stop();
    });

    test('C10: what gains a ready pod appears within a second', async () => {
      const rig = await cluster('director', config);
      pods(rig, 'idle', [{ address: api('1.30'), node: 'n1' }], family);
      await rig.advance(1000);
      assert.deepEqual(balanced(rig), [api80, `${plain(main, 81)} ${nodes}1=1`, `${plain(other, 80)} ${nodes}1=1`].sort());
      assert.deepEqual(announced(rig), [main, other]);
      assert.equal(reasons(rig)[at(main, 81)], undefined);
      await rig.stop();
    });

    test('C10: a pod that is not ready, or on no node, is not enough', async () => {
      const rig = await cluster('director', config);
      pods(rig, 'idle', [{ address: api('1.30'), node: 'n1', ready: false }], family);
      await rig.advance(1000);
      assert.deepEqual([announced(rig), reasons(rig)[at(other, 80)]], [[main], 'NoEndpoints']);
      pods(rig, 'idle', [{ address: api('1.30') }], family);
      await rig.advance(1000);
      assert.deepEqual(announced(rig), [main]);
      assert.notEqual(reasons(rig)[at(other, 80)], undefined);
      await rig.stop();
    });

    test('C10: what loses its last pod is withdrawn once its weight is 0, and goes when its connections are over', async () => {
      const rig = await cluster('director', config);
      pods(rig, 'idle', [{ address: api('1.30'), node: 'n1' }], family);
      await rig.advance(1000);
      const destination = family === 4 ? `${nodes}1:80` : `[${nodes}1]:80`;
      rig.kernel.ipvs.setConnections(at(other, 80), destination, 4);
      pods(rig, 'idle', [], family);
      await rig.advance(1000);
      assert.ok(balanced(rig).includes(`${plain(other, 80)} ${nodes}1=0`), 'established connections go on');
      assert.deepEqual(announced(rig), [main]);
      rig.kernel.ipvs.setConnections(at(other, 80), destination, 0);
      await rig.advance(2500);
      assert.deepEqual(balanced(rig), [api80]);
      await rig.stop();
    });

    test('C10: a Service that becomes headless, or a name for another host, and one that comes back', async () => {
      const rig = await cluster('director', config);
      for (const [difference, code] of [
        [{ clusterIP: 'None' }, 'ServiceHeadless'],
        [{ type: 'ExternalName' }, 'ServiceExternalName'],
      ] as const) {
        rig.api.store.put(resources.services, service({ namespace: 'shop', name: 'api', ...difference }));
        await rig.advance(1000);
        assert.deepEqual([announced(rig), reasons(rig)[at(main, 80)]], [[], code]);
        rig.api.store.put(resources.services, service({ namespace: 'shop', name: 'api' }));
        await rig.advance(1000);
        assert.deepEqual([balanced(rig), announced(rig)], [[api80], [main]]);
      }
      await rig.stop();
    });
  });
}

suite('C10 service filtering on a realserver', () => {
  test('C10: the same is filtered, for the pods of its own node', async () => {
    const rig = await cluster('realserver', { config: admission });
    assert.deepEqual(reasons(rig), {
      'tcp 192.0.2.10:81': 'NoEndpoints',
      'tcp 192.0.2.10:82': 'ServiceHeadless',
      'tcp 192.0.2.10:83': 'PortMissing',
      'tcp 192.0.2.10:84': 'ServiceMissing',
      'tcp 192.0.2.10:85': 'ServiceExternalName',
      'tcp 192.0.2.12:80': 'NoEndpoints',
    });
    pods(rig, 'idle', [{ address: '10.50.1.30', node: 'n1' }], 4);
    await rig.advance(1000);
    assert.deepEqual(Object.keys(reasons(rig)).sort(), [
      'tcp 192.0.2.10:82',
      'tcp 192.0.2.10:83',
      'tcp 192.0.2.10:84',
      'tcp 192.0.2.10:85',
    ]);
    assert.match(JSON.stringify(rig.kernel.nftables.dump()), /shop\/idle:http/);
    await rig.stop();
  });
});

suite('C11 default listener for unclaimed VIPs', () => {
  const config = { vipPool: ['192.0.2.10', '192.0.2.20'], config: { '192.0.2.10': { '70': target('api') } } };
  const listener = { defaultListener: { namespace: 'ops', service: 'canary', portName: 'http', port: 70 } };
  const methods = (rig: ClusterRig): string[] =>
    rig.kernel.ipvs
      .services()
      .map(({ id, spec, destinations }) => {
        const name = 'address' in id ? `${id.protocol} ${id.address}:${id.port}` : '';
        return [name, spec.scheduler, ...destinations.map((one) => `${one.id.address} ${one.spec.forward} ${one.spec.weight}`).sort()].join(
          ', ',
        );
      })
      .sort();

  test('C11: a claimed port stays, an unclaimed VIP leads to the default, TCP through a tunnel', async () => {
    const rig = await cluster('director', config, listener);
    assert.deepEqual(methods(rig), [
      'tcp 192.0.2.10:70, wrr, 10.20.0.11 direct 3, 10.20.0.12 direct 1',
      'tcp 192.0.2.20:70, wrr, 10.20.0.11 tunnel 1',
    ]);
    assert.deepEqual(announced(rig), ['192.0.2.10', '192.0.2.20']);
    await rig.stop();
  });

  test('C11: without a default listener a VIP of the pool is nothing but a word', async () => {
    const rig = await cluster('director', config);
    assert.deepEqual(announced(rig), ['192.0.2.10']);
    assert.equal(methods(rig).length, 1);
    await rig.stop();
  });

  test('C11: the default is subject to the same admission', async () => {
    const rig = await cluster('director', config, listener);
    rig.api.store.remove(resources.services, 'ops/canary');
    await rig.advance(1000);
    assert.deepEqual([announced(rig), reasons(rig)['tcp 192.0.2.20:70']], [['192.0.2.10'], 'ServiceMissing']);
    rig.api.store.put(resources.services, service({ namespace: 'ops', name: 'canary', clusterIP: 'None' }));
    await rig.advance(1000);
    assert.deepEqual(reasons(rig)['tcp 192.0.2.20:70'], 'ServiceHeadless');
    rig.api.store.put(resources.services, service({ namespace: 'ops', name: 'canary' }));
    await rig.advance(1000);
    assert.deepEqual(announced(rig), ['192.0.2.10', '192.0.2.20']);
    await rig.stop();
  });

  test('C11: a port that the configuration claims later takes the VIP from the default, and gives it back', async () => {
    const rig = await cluster('director', config, listener);
    const claimed = { ...config, labels: { pool: 'lb' }, config: { ...config.config, '192.0.2.20': { '70': target('api') } } };
    rig.configure(claimed);
    await rig.advance(1000);
    assert.ok(methods(rig).includes('tcp 192.0.2.20:70, wrr, 10.20.0.11 direct 3, 10.20.0.12 direct 1'), methods(rig).join('; '));
    rig.configure({ ...config, labels: { pool: 'lb' } });
    await rig.advance(5000);
    assert.ok(methods(rig).includes('tcp 192.0.2.20:70, wrr, 10.20.0.11 tunnel 1'), methods(rig).join('; '));
    await rig.stop();
  });

  test('C11: a realserver translates it, too', async () => {
    const rig = await cluster('realserver', config, listener);
    assert.match(JSON.stringify(rig.kernel.nftables.dump()), /ops\/canary:http/);
    await rig.stop();
  });
});
