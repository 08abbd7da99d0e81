/** Virtual services whose destinations are pods: `forwardingMethod: m`. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Endpoint } from '../../src/model/cluster.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { whole } from './cluster.ts';
import { API, apiAt, destinationsOf, NODES, servicesOf, stateOf } from './fixture.ts';
import { traceIptables } from './iptables-trace.ts';
import type { FakeKernel } from './kernel.ts';
import { freshKernel, Rig } from './rig.ts';

const vip = '192.0.2.10';
const key = `tcp ${vip}:80`;
const tracking = 'net/ipv4/vs/conntrack';

const stateAt = (api: readonly Endpoint[] = API, extra: Readonly<Record<string, unknown>> = {}, forwardingMethod = 'm') =>
  stateOf({ [vip]: { '80': apiAt({ ipvsOptions: { forwardingMethod, ...extra } }) } }, { api });
const changed = (api: readonly Endpoint[]) => ({
  ...whole(stateAt(api)),
  change: { all: false, virtualServices: new Set([key]) } as const,
});

function rigOf(options: Partial<AgentOptions> = {}, kernel?: FakeKernel, folder?: string): Rig {
  const machine = kernel ?? freshKernel();
  if (kernel === undefined) machine.sysctls.values.set(tracking, '0');
  return new Rig('director', machine, { natBackend: 'iptables', ignoreCordon: false, ...options }, folder);
}
const pods = async ({ kernel }: Rig): Promise<string[]> => destinationsOf((await servicesOf(kernel)).get(key));
const connect = (rig: Rig, pod: string, count: number): void => rig.kernel.ipvs.setConnections(key, pod, count);
const all = ['10.50.1.2', '10.50.1.3', '10.50.1.4'].map((address) => `${address}:8080 NAT w1 x0 y0`);
const without = (address: string, change?: Partial<Endpoint>): Endpoint[] =>
  API.flatMap((endpoint) => (endpoint.address !== address ? [endpoint] : change === undefined ? [] : [{ ...endpoint, ...change }]));

suite('masquerading to pods', () => {
  test('ready pods of eligible nodes, and pods without a node, each with weight 1, at their own port; no wait for a realserver', async () => {
    const rig = rigOf({ handoverMilliseconds: 10_000 });
    const outside: Endpoint = { ...API[0]!, address: '198.51.100.80', port: 81, node: undefined };
    await rig.publish(whole(stateAt([...API, outside])));
    // n2 is cordoned; 10.50.1.9 is not ready.
    assert.deepEqual(await pods(rig), [...all, '198.51.100.80:81 NAT w1 x0 y0']);
    assert.equal(rig.composition.plane.status().vips[0]?.announced, true);
    await rig.publish(changed([...API, outside, { ...outside, address: '198.51.100.81' }]));
    assert.equal((await pods(rig)).length, 5, 'nor later');
    await rig.kill();
  });

  test('a pod that terminates is emptied, one that is gone is removed at once', async () => {
    const rig = rigOf();
    await rig.publish(whole(stateAt()));
    connect(rig, '10.50.1.2:8080', 7);
    connect(rig, '10.50.1.3:8080', 7);
    await rig.publish(changed(without('10.50.1.2', { ready: false, terminating: true })));
    assert.deepEqual(await pods(rig), ['10.50.1.2:8080 NAT w0 x0 y0', ...all.slice(1)]);
    await rig.advance(30_000);
    assert.equal((await pods(rig)).length, 3, 'seven connections');
    connect(rig, '10.50.1.2:8080', 0);
    await rig.publish(changed(without('10.50.1.2', { ready: false, terminating: true, serving: false })));
    await rig.advance(1500);
    assert.deepEqual(await pods(rig), all.slice(1));
    await rig.publish(changed(without('10.50.1.3')));
    assert.deepEqual(await pods(rig), [all[0], all[2]], 'whoever gets its address next wants none of its connections');
    await rig.kill();
  });

  test('a pod that is not ready any more finishes what it has, until the time is up', async () => {
    const rig = rigOf({ drainMilliseconds: 20_000 });
    await rig.publish(whole(stateAt()));
    connect(rig, '10.50.1.2:8080', 7);
    await rig.publish(changed(without('10.50.1.2', { ready: false })));
    await rig.advance(19_000);
    assert.equal((await pods(rig))[0], '10.50.1.2:8080 NAT w0 x0 y0');
    await rig.advance(1100);
    assert.deepEqual(await pods(rig), all.slice(1));
    await rig.kill();
  });

  test('when no pod is ready those that terminate and still serve are the last resort', async () => {
    const rig = rigOf();
    await rig.publish(whole(stateAt()));
    const ending = API.map((endpoint, index) => ({ ...endpoint, ready: false, terminating: true, serving: index > 0 }));
    await rig.publish(changed(ending));
    assert.deepEqual(
      (await pods(rig)).map((text) => text.split(' ')[2]),
      ['w0', 'w1', 'w1', 'w1'],
    );
    await rig.kill();
  });

  test('limits are shared by pods', async () => {
    const rig = rigOf();
    await rig.publish(whole(stateAt(API, { uThreshold: 9000, lThreshold: 3000 })));
    assert.deepEqual(
      await pods(rig),
      ['10.50.1.2', '10.50.1.3', '10.50.1.4'].map((address) => `${address}:8080 NAT w1 x3000 y1000`),
    );
    rig.kernel.journal.clear();
    await rig.advance(61_000);
    assert.equal(rig.kernel.writes, 0);
    await rig.kill();
  });

  test('the way there is changed: what is established stays with whom it is, and the rest moves', async () => {
    const rig = rigOf();
    await rig.publish(whole(stateAt()));
    connect(rig, '10.50.1.2:8080', 3);
    for (const pod of ['10.50.1.3:8080', '10.50.1.4:8080']) connect(rig, pod, 0);
    await rig.publish(whole(stateAt(API, {}, 'g')));
    assert.ok((await pods(rig)).includes('10.50.1.2:8080 NAT w0 x0 y0'));
    assert.ok((await pods(rig)).includes('10.20.0.11:80 DR w3 x0 y0'));
    await rig.advance(1500);
    assert.deepEqual(await pods(rig), ['10.20.0.11:80 DR w3 x0 y0', '10.50.1.2:8080 NAT w0 x0 y0']);
    await rig.publish(whole(stateAt()));
    rig.kernel.ipvs.setConnections(key, '10.20.0.11:80', 0);
    await rig.advance(1500);
    assert.deepEqual(await pods(rig), all);
    await rig.kill();
  });

  test('a pod with an address of the director is none: IPVS would deliver to the director untranslated', async () => {
    const nodes = NODES.map((node) => (node.name === 'n1' ? { ...node, addresses: ['10.20.0.11'] } : node));
    const host: Endpoint = { ...API[0]!, address: '10.20.0.11' };
    const state = stateOf({ [vip]: { '80': apiAt({ ipvsOptions: { forwardingMethod: 'm' } }) } }, { api: [host, API[1]!], nodes });
    const rig = rigOf({ nodeName: 'n1' });
    await rig.publish(whole(state));
    assert.deepEqual(await pods(rig), ['10.50.1.3:8080 NAT w1 x0 y0'], 'other pods of the director are reached as any');
    await rig.kill();
  });
});

suite('the addresses of clients', () => {
  const packet = { source: '198.51.100.7', destination: vip, protocol: 6, port: 80 };
  const seen = ({ kernel }: Rig): string[] => traceIptables(kernel, packet).map(({ at, source }) => `${at} ${source}`);

  test('are replaced by the director’s, which connection tracking has to see', async () => {
    const rig = rigOf();
    await rig.publish(whole(stateAt()));
    assert.deepEqual(seen(rig), [`${vip}:80 masqueraded`]);
    assert.equal(rig.kernel.sysctls.values.get(tracking), '1');
    rig.kernel.journal.clear();
    await rig.advance(61_000);
    assert.equal(rig.kernel.writes, 0);
    await rig.kill();
    const again = rigOf({}, rig.kernel, rig.folder);
    await again.publish(whole(stateAt()));
    assert.equal(rig.kernel.writes, 0, 'a restart writes nothing');
    await again.kill();
  });

  test('stay where the network leads replies back through the director', async () => {
    const rig = rigOf();
    await rig.publish(whole(stateAt(API, { masqueradeSource: false })));
    assert.deepEqual(seen(rig), [`${vip}:80 198.51.100.7`]);
    assert.equal(rig.kernel.iptables.ip.present, false, 'no rules at all');
    assert.equal(rig.kernel.sysctls.values.get(tracking), '0');
    await rig.kill();
  });

  test('the rule is there before IPVS has the service, and goes after it', async () => {
    const rig = rigOf();
    await rig.publish(whole(stateAt()));
    const order = (): string[] => rig.kernel.journal.calls.map(({ op }) => op).filter((op) => /^(iptables|ipvs)/.test(op));
    assert.ok(order().indexOf('iptables.commit') < order().indexOf('ipvs.addService'), order().join(' '));
    rig.kernel.journal.clear();
    await rig.publish(whole(stateOf({ [vip]: { '80': apiAt() } })));
    assert.ok(order().lastIndexOf('iptables.commit') > order().lastIndexOf('ipvs.setDestination'), order().join(' '));
    assert.deepEqual(seen(rig), [`${vip}:80 198.51.100.7`]);
    assert.equal(rig.kernel.sysctls.values.get(tracking), '0', 'and the setting is put back');
    await rig.kill();
  });

  test('a virtual service that comes between two whole looks has its rule all the same', async () => {
    const rig = rigOf();
    await rig.publish(whole(stateOf({ [vip]: { '80': apiAt() } })));
    await rig.publish(changed(API));
    assert.deepEqual(rig.loop.status().failures, []);
    assert.deepEqual(seen(rig), [`${vip}:80 masqueraded`]);
    await rig.kill();
  });

  test('nothing is removed of what is held', async () => {
    const many = Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`192.0.2.${index + 10}`, { '80': apiAt({ ipvsOptions: { forwardingMethod: 'm' } }) }]),
    );
    const rig = rigOf();
    await rig.publish(whole(stateOf(many)));
    await rig.publish(whole(stateOf({})));
    assert.match(rig.loop.status().held ?? '', /would remove 40 of 40/);
    assert.equal(rig.kernel.ipvs.services().length, 40);
    assert.deepEqual(seen(rig), [`${vip}:80 masqueraded`]);
    await rig.kill();
    const again = rigOf({}, rig.kernel, rig.folder);
    await again.publish(whole(stateOf({})));
    assert.equal(rig.kernel.ipvs.services().length, 40);
    assert.deepEqual(seen(rig), [`${vip}:80 masqueraded`], 'nor after a restart');
    await again.kill();
  });
});
