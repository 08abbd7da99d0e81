/** The named cases about which nodes are backends, and how they come and go, on an agent with a kernel. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { excludeLabel } from '../../src/desired/eligibility.ts';
import type { ClusterState, Node } from '../../src/model/cluster.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { Interner, reduceNode } from '../../src/sources/kubernetes/reduce.ts';
import { whole } from './cluster.ts';
import { API, apiAt, destinationsOf, n5, NODES, servicesOf, stateOf, type FixtureOptions } from './fixture.ts';
import { Rig } from './rig.ts';

const web = { '192.0.2.10': { '80': apiAt() } };
const key = 'tcp 192.0.2.10:80';
const state = (options: FixtureOptions = {}): ClusterState => stateOf(web, options);
const identity = (name: string) => ({ key: name, namespace: '', name, uid: 'u', resourceVersion: '1' });
const with1 = (name: string, difference: Partial<Node>): Node[] =>
  NODES.map((node) => (node.name === name ? { ...node, ...difference } : node));

async function running(options: Partial<AgentOptions> = {}): Promise<Rig> {
  const rig = new Rig('director', undefined, options);
  await rig.publish(whole(state()));
  return rig;
}

/** `n1 w3` and so on, after the drain of whoever left. */
async function destinations(rig: Rig, wait = 0): Promise<string[]> {
  await rig.advance(wait);
  return destinationsOf((await servicesOf(rig.kernel)).get(key)).map((text) =>
    text.replace(/^10\.20\.0\.1(\d):80 DR (w\d+) .*$/, 'n$1 $2'),
  );
}

suite('C02 node eligibility', () => {
  test('C02a: a cordoned node is no backend unless cordons are ignored', async () => {
    const ignoring = await running({ ignoreCordon: true });
    assert.deepEqual(await destinations(ignoring), ['n1 w3', 'n2 w1']);
    await ignoring.kill();
    const rig = await running({ ignoreCordon: false });
    assert.deepEqual(await destinations(rig), ['n1 w3']);
    await rig.kill();
  });

  for (const idleDestinations of ['keep', 'remove'] as const) {
    test(`C02b: without labels every ready node may be one, idle destinations: ${idleDestinations}`, async () => {
      const rig = await running({ idleDestinations });
      await rig.publish(whole(state({ labels: {} })));
      assert.deepEqual(await destinations(rig), idleDestinations === 'keep' ? ['n1 w3', 'n2 w1', 'n4 w0'] : ['n1 w3', 'n2 w1']);
      await rig.kill();
    });
  }

  test('C02c: a node that is not ready leaves, the other remains', async () => {
    const rig = await running();
    await rig.publish(whole(state({ nodes: with1('n1', { ready: false }) })));
    assert.deepEqual(await destinations(rig, 1500), ['n2 w1']);
    await rig.kill();
  });

  test('C02c extended: it keeps its connections until they are over, and does not come back when it is idle', async () => {
    const rig = await running();
    rig.kernel.ipvs.setConnections(key, '10.20.0.11:80', 7, 2);
    await rig.publish(whole(state({ nodes: with1('n1', { ready: false }) })));
    assert.deepEqual(await destinations(rig), ['n1 w0', 'n2 w1']);
    assert.deepEqual(await destinations(rig, 100_000), ['n1 w0', 'n2 w1']);
    rig.kernel.ipvs.setConnections(key, '10.20.0.11:80', 0);
    assert.deepEqual(await destinations(rig, 1500), ['n2 w1']);
    await rig.publish(whole(state({ nodes: with1('n1', { ready: true }) })));
    assert.deepEqual(await destinations(rig), ['n1 w3', 'n2 w1']);
    await rig.kill();
  });

  test('C02c extended: and no longer than the drain timeout', async () => {
    const rig = await running({ drainMilliseconds: 30_000 });
    rig.kernel.ipvs.setConnections(key, '10.20.0.11:80', 7);
    await rig.publish(whole(state({ nodes: with1('n1', { ready: false }) })));
    assert.deepEqual(await destinations(rig, 29_900), ['n1 w0', 'n2 w1']);
    assert.deepEqual(await destinations(rig, 200), ['n2 w1']);
    await rig.kill();
  });

  test('C02d: spec.unschedulable is a cordon, without a taint', async () => {
    const object = { metadata: { name: 'n2' }, spec: { unschedulable: true } };
    assert.equal(reduceNode(object, identity('n2'), new Interner()).unschedulable, true);
    const rig = await running({ ignoreCordon: false });
    await rig.publish(whole(state({ nodes: with1('n2', { unschedulable: false }) })));
    assert.deepEqual(await destinations(rig), ['n1 w3', 'n2 w1']);
    await rig.publish(whole(state({ nodes: with1('n2', { unschedulable: true }) })));
    assert.deepEqual(await destinations(rig, 1500), ['n1 w3']);
    await rig.kill();
  });

  test('C02e: a node is reached by its internal address, with method and weight', async () => {
    const rig = await running();
    const addresses = [
      { type: 'ExternalIP', address: '198.51.100.9' },
      { type: 'InternalIP', address: '10.20.0.16' },
    ];
    const object = {
      metadata: { name: 'n6', labels: { pool: 'lb' } },
      status: { addresses, conditions: [{ type: 'Ready', status: 'True' }] },
    };
    const n6 = reduceNode(object, identity('n6'), new Interner());
    const api = [...API, { ...API[0]!, address: '10.50.6.2', node: 'n6' }];
    await rig.publish(whole(state({ nodes: [...NODES, n6], api })));
    const service = (await servicesOf(rig.kernel)).get(key);
    assert.deepEqual(destinationsOf(service), ['10.20.0.11:80 DR w3 x0 y0', '10.20.0.12:80 DR w1 x0 y0', '10.20.0.16:80 DR w1 x0 y0']);
    await rig.kill();
  });

  test('C02: the label that excludes a node from load balancers, whatever its value', async () => {
    for (const value of ['', 'true', 'false']) {
      const rig = await running();
      await rig.publish(whole(state({ nodes: with1('n1', { labels: { pool: 'lb', [excludeLabel]: value } }) })));
      assert.deepEqual(await destinations(rig, 1500), ['n2 w1'], value);
      await rig.kill();
    }
  });

  test('C02: names of objects are no labels', async () => {
    const rig = await running();
    await rig.publish(whole(state({ labels: { constructor: 'x' } })));
    assert.deepEqual(rig.composition.plane.reason(key)?.code, 'NoEligibleNode');
    await rig.kill();
  });
});

suite('C07 weight changes of a running director', () => {
  const pods = (...nodes: string[]) =>
    nodes.map((name, at) => ({ address: `10.50.7.${at + 1}`, port: 8080, portName: 'http', node: name, ready: true, terminating: false }));
  const nodes = [...NODES, n5];

  test('C07: cuts at once and in place, the raise after the wait, connections survive', async () => {
    const rig = new Rig('director', undefined, { handoverMilliseconds: 1000 });
    await rig.publish(whole(state({ nodes, api: pods('n1', 'n1', 'n1', 'n2') })));
    assert.deepEqual(await destinations(rig), ['n1 w3', 'n2 w1']);
    rig.kernel.ipvs.setConnections(key, '10.20.0.11:80', 4);
    rig.kernel.ipvs.setConnections(key, '10.20.0.12:80', 17);
    rig.kernel.journal.clear();
    await rig.publish(whole(state({ nodes, api: pods('n1', 'n1', 'n5', 'n5') })));
    assert.deepEqual(await destinations(rig), ['n1 w2', 'n2 w0']);
    assert.deepEqual(await destinations(rig, 1000), ['n1 w2', 'n2 w0', 'n5 w2']);
    assert.deepEqual(
      rig.kernel.journal.calls.map(({ op }) => op).filter((op) => op.startsWith('ipvs.')),
      ['ipvs.setDestination', 'ipvs.setDestination', 'ipvs.addDestination'],
    );
    const counts = (await servicesOf(rig.kernel))
      .get(key)
      ?.destinations.map(({ id, activeConnections }) => [id.address, activeConnections]);
    assert.deepEqual(new Map(counts as [string, number][]).get('10.20.0.11'), 4);
    assert.deepEqual(new Map(counts as [string, number][]).get('10.20.0.12'), 17);
    await rig.kill();
  });

  test('C07: with idle destinations kept these are three edits', async () => {
    const rig = new Rig('director', undefined, { handoverMilliseconds: 1000, idleDestinations: 'keep' });
    await rig.publish(whole(state({ nodes, api: pods('n1', 'n1', 'n1', 'n2') })));
    rig.kernel.journal.clear();
    await rig.publish(whole(state({ nodes, api: pods('n1', 'n1', 'n5', 'n5') })));
    await rig.advance(1000);
    assert.deepEqual(
      rig.kernel.journal.calls
        .map(({ op, subject }) => `${op} ${subject.split(' -> ')[1] ?? ''}`)
        .filter((text) => text.startsWith('ipvs.')),
      ['ipvs.setDestination 10.20.0.11:80', 'ipvs.setDestination 10.20.0.12:80', 'ipvs.setDestination 10.20.0.15:80'],
    );
    assert.deepEqual(await destinations(rig), ['n1 w2', 'n2 w0', 'n5 w2']);
    await rig.kill();
  });
});

suite('reasons of Services that cannot be balanced', () => {
  const reasonOf = async (change: (state: ClusterState) => ClusterState): Promise<string | undefined> => {
    const rig = await running();
    await rig.publish(whole(change(state())));
    await rig.advance(1500);
    assert.deepEqual(rig.kernel.ipvs.services(), []);
    const code = rig.composition.plane.reason(key)?.code;
    await rig.kill();
    return code;
  };
  const withService =
    (difference: object) =>
    (before: ClusterState): ClusterState => {
      const service = before.services.get('shop/api');
      assert.ok(service);
      return { ...before, services: new Map([['shop/api', { ...service, ...difference }]]) };
    };

  test('headless, a name for another host, and endpoints without a node', async () => {
    assert.equal(await reasonOf(withService({ unsupported: 'headless' })), 'ServiceHeadless');
    assert.equal(await reasonOf(withService({ unsupported: 'externalName' })), 'ServiceExternalName');
    const endpoints = API.map((endpoint) => ({ ...endpoint, node: undefined }));
    assert.equal(await reasonOf(withService({ endpoints })), 'EndpointsWithoutNode');
  });
});
