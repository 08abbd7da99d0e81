/** The control plane itself, and what the chart's accounts may do in it: when this fails, the agents are not to blame. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { waitFor } from '../../lab/wait.ts';
import { TestCluster } from '../harness/cluster.ts';
import { Chart } from '../lab/chart.ts';
import { Host } from '../lab/connect.ts';

const NAMESPACE = 'plane';

let host: Host;
let cluster: TestCluster;
const chart = new Chart();

before(async () => {
  host = Host.find();
  cluster = new TestCluster(host.api);
  await cluster.createNamespace(NAMESPACE);
  await cluster.createNamespace(chart.namespace);
  for (const manifest of chart.rights) await cluster.apply(manifest);
});

after(async () => {
  await host.api.delete(`/api/v1/namespaces/${NAMESPACE}`);
  await host.api.delete('/api/v1/nodes/plane-1');
  host.close();
});

test('the endpointslice controller makes slices of pods: ready, terminating and still serving, gone', async () => {
  await cluster.createNode({ name: 'plane-1', address: '10.40.0.1' });
  const labels = { app: 'web' };
  await cluster.createService({ namespace: NAMESPACE, name: 'web', selector: labels, portName: 'http', port: 80, targetPort: 8080 });
  for (const [name, address] of [
    ['a', '10.244.9.1'],
    ['b', '10.244.9.2'],
  ] as const) {
    await cluster.createPod({ namespace: NAMESPACE, name, node: 'plane-1', address, port: 8080, labels });
  }
  const ready = (): Promise<string[]> => cluster.readyAddresses(NAMESPACE, 'web');
  await waitFor('two endpoints', async () => (await ready()).length === 2);
  await cluster.terminatePod(NAMESPACE, 'a');
  await waitFor('one endpoint', async () => (await ready()).join() === '10.244.9.2');
  const [endpoint] = (await endpoints()).filter(({ addresses }) => addresses[0] === '10.244.9.1');
  assert.deepEqual(endpoint?.conditions, { ready: false, serving: true, terminating: true });
  assert.equal(endpoint.nodeName, 'plane-1');
  await cluster.removePod(NAMESPACE, 'a');
  await waitFor('its end', async () => (await endpoints()).length === 1);
  await cluster.setPodReady(NAMESPACE, 'b', false);
  await waitFor('nobody ready', async () => (await ready()).length === 0);
});

interface Endpoint {
  readonly addresses: string[];
  readonly conditions: object;
  readonly nodeName?: string;
}

async function endpoints(): Promise<Endpoint[]> {
  const list = await host.api.get(`/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices`);
  return (list['items'] as { endpoints?: Endpoint[] | null }[]).flatMap((slice) => slice.endpoints ?? []);
}

test('every manifest of the chart is taken by a strict API server', async () => {
  assert.ok(chart.workloads.length >= 2);
  for (const manifest of chart.manifests) await cluster.apply(manifest, true);
  const [workload] = chart.workloads;
  // The negative: that it is strict.
  await assert.rejects(cluster.apply({ ...workload!, spce: {} }, true), /spce/);
});

/** [verb, group, resource, name of the object, namespace] */
type Access = readonly [verb: string, group: string, resource: string, name?: string, namespace?: string];

async function allowed(account: string, [verb, group, resource, name = '', namespace = '']: Access): Promise<boolean> {
  const user = `system:serviceaccount:${chart.namespace}:${account}`;
  const groups = ['system:serviceaccounts', `system:serviceaccounts:${chart.namespace}`, 'system:authenticated'];
  const review = await host.api.post('/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    ...{ apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview' },
    spec: { user, groups, resourceAttributes: { verb, group, resource, name, namespace } },
  });
  return (review['status'] as { allowed: boolean }).allowed;
}

const own = chart.namespace;
const reads = (group: string, resource: string, name = '', namespace = ''): Access[] =>
  ['get', 'list', 'watch'].map((verb) => [verb, group, resource, name, namespace]);

const rights = {
  director: {
    may: [
      ...reads('', 'services'),
      ...reads('discovery.k8s.io', 'endpointslices'),
      ...reads('', 'nodes'),
      ...reads('', 'configmaps', 'ravel-config', own),
      ...reads('coordination.k8s.io', 'leases', '', own),
      ['create', 'events.k8s.io', 'events', '', 'shop'],
      ['patch', 'events.k8s.io', 'events', '', 'shop'],
    ],
    mayNot: [
      ['update', 'coordination.k8s.io', 'leases', '', own],
      ['patch', '', 'nodes'],
      ['list', 'coordination.k8s.io', 'leases', '', 'kube-system'],
    ],
  },
  realserver: {
    may: [
      ...reads('', 'services'),
      ...reads('discovery.k8s.io', 'endpointslices'),
      ...reads('', 'configmaps', 'ravel-config', own),
      ...['get', 'create', 'update'].map((verb): Access => [verb, 'coordination.k8s.io', 'leases', '', own]),
    ],
    mayNot: [...reads('', 'nodes'), ['list', 'coordination.k8s.io', 'leases', '', own], ['create', 'events.k8s.io', 'events', '', 'shop']],
  },
} satisfies Record<'director' | 'realserver', { may: Access[]; mayNot: Access[] }>;

/** What no agent needs, whatever its mode. */
const forbidden: Access[] = [
  ...reads('', 'pods'),
  ...reads('', 'secrets', '', own),
  ...reads('', 'configmaps', 'another', own),
  ...reads('', 'configmaps', '', own),
  ...reads('', 'configmaps', 'ravel-config', 'kube-system'),
  ['update', '', 'services'],
  ['patch', 'discovery.k8s.io', 'endpointslices'],
  ['delete', 'coordination.k8s.io', 'leases', '', own],
  ['create', '', 'pods', '', own],
];

for (const mode of ['director', 'realserver'] as const) {
  test(`the ${mode}'s account may do what its agent does, and no more`, async () => {
    const { account } = chart.pod(mode, 'n1');
    for (const access of rights[mode].may) assert.equal(await allowed(account, access), true, `should be allowed: ${access.join(' ')}`);
    for (const access of [...forbidden, ...rights[mode].mayNot]) {
      assert.equal(await allowed(account, access), false, `should be forbidden: ${access.join(' ')}`);
    }
  });
}
