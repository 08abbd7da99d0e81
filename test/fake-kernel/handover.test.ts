/** Director and realservers see a change at their own time; the bounded waits between them, with time in the test's hands. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterState } from '../../src/model/cluster.ts';
import { changed, cluster, whole } from './cluster.ts';
import { Rig } from './rig.ts';

const vips = [['10.50.0.1', 80, 'web']] as const;
const onOne = cluster({ pods: { web: ['n1'] }, vips });
const onTwo = cluster({ pods: { web: ['n1', 'n2'] }, vips });
const gone = cluster({ pods: { web: ['n2'] }, vips });
const handoverMilliseconds = 1000;

const weights = (rig: Rig): Record<string, number> =>
  Object.fromEntries(
    rig.kernel.ipvs.services().flatMap(({ destinations }) => destinations.map(({ id, spec }) => [id.address, spec.weight])),
  );
const rules = async (rig: Rig): Promise<number> => (await rig.kernel.nftables.elements({ family: 'ip', name: 'ravel' }, 'services')).count;

test('a director gives a node without pods its weight only after the delay, and cuts at once', async () => {
  const rig = new Rig('director', undefined, { handoverMilliseconds });
  await rig.publish(whole(onOne));
  assert.deepEqual(weights(rig), { '10.20.0.1': 1 }, 'the first pass knows nothing of before: no wait');
  await rig.publish(changed(onTwo, 'web'));
  assert.deepEqual(weights(rig), { '10.20.0.1': 1 });
  await rig.advance(999);
  assert.deepEqual(weights(rig), { '10.20.0.1': 1 });
  await rig.advance(1);
  assert.deepEqual(weights(rig), { '10.20.0.1': 1, '10.20.0.2': 1 });
  await rig.publish(changed(gone, 'web'));
  assert.deepEqual(weights(rig), { '10.20.0.1': 0, '10.20.0.2': 1 }, 'a cut does not wait');
  await rig.kill();
});

test('a wait counts from when it was first asked for, whatever else changes', async () => {
  const rig = new Rig('director', undefined, { handoverMilliseconds });
  await rig.publish(whole(onOne));
  await rig.publish(changed(onTwo, 'web'));
  await rig.advance(600);
  await rig.publish(whole(onTwo));
  await rig.advance(400);
  assert.equal(weights(rig)['10.20.0.2'], 1);
  await rig.kill();
});

test('a raise that is taken back while it waits never happens', async () => {
  const rig = new Rig('director', undefined, { handoverMilliseconds });
  await rig.publish(whole(onOne));
  await rig.publish(changed(onTwo, 'web'));
  await rig.advance(500);
  await rig.publish(changed(onOne, 'web'));
  rig.kernel.journal.clear();
  await rig.advance(5000);
  assert.equal(rig.kernel.writes, 0);
  assert.deepEqual(weights(rig), { '10.20.0.1': 1 });
  await rig.kill();
});

test('a realserver keeps the rules of its last pod for the delay, and no longer', async () => {
  const rig = new Rig('realserver', undefined, { handoverMilliseconds });
  await rig.publish(whole(onOne));
  assert.equal(await rules(rig), 1);
  await rig.publish(changed(gone, 'web'));
  assert.equal(await rules(rig), 1, 'the director may still send');
  await rig.advance(999);
  assert.equal(await rules(rig), 1);
  await rig.advance(1);
  assert.equal(await rules(rig), 0);
  await rig.kill();
});

test('without a delay nothing waits', async () => {
  const rig = new Rig('realserver', undefined, { handoverMilliseconds: 0 });
  await rig.publish(whole(onOne));
  await rig.publish(changed(gone, 'web'));
  assert.equal(await rules(rig), 0);
  await rig.kill();
});

test('a node with only terminating pods keeps serving them, and a ready one replaces them', async () => {
  const withPods = (flags: readonly { ready: boolean; terminating: boolean; serving?: boolean }[]): ClusterState => {
    const state = cluster({ pods: { web: flags.map(() => 'n1') }, vips });
    const service = state.services.get('default/web');
    assert.ok(service);
    const endpoints = service.endpoints.map((endpoint, index) => ({ ...endpoint, ...flags[index] }));
    return { ...state, services: new Map([['default/web', { ...service, endpoints }]]) };
  };
  const rig = new Rig('realserver', undefined, { handoverMilliseconds: 0 });
  const pods = async (): Promise<number> => (await rig.kernel.nftables.elements({ family: 'ip', name: 'ravel' }, 'endpoints')).count;
  await rig.publish(
    whole(
      withPods([
        { ready: false, terminating: true },
        { ready: true, terminating: true },
      ]),
    ),
  );
  assert.equal(await pods(), 2);
  await rig.publish(
    whole(
      withPods([
        { ready: false, terminating: true },
        { ready: true, terminating: false },
      ]),
    ),
  );
  assert.equal(await pods(), 1);
  const ending = { ready: false, terminating: true, serving: false };
  await rig.publish(whole(withPods([ending, { ready: false, terminating: true, serving: true }])));
  assert.equal(await pods(), 1, 'the one that still serves');
  await rig.publish(whole(withPods([ending, ending])));
  assert.equal(await pods(), 2, 'nothing else is there');
  await rig.publish(whole(withPods([{ ready: false, terminating: false }])));
  assert.equal(await rules(rig), 0, 'a pod that is neither ready nor terminating never serves');
  await rig.kill();
});
