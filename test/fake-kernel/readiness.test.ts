/** A director gives a node connections once its realserver has confirmed its pods, or after a bounded wait. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterState, Publication } from '../../src/model/cluster.ts';
import { changed, whole } from './cluster.ts';
import { connect, director, key, tell, vip, weights, type Telling } from './drain-cluster.ts';
import type { Rig } from './rig.ts';

/** Realservers caught up; nothing else is new. */
const confirmation = (state: ClusterState): Publication => ({
  ...{ state, change: { all: false, virtualServices: new Set(), confirmed: true }, warnings: [] },
});
const warnings = (rig: Rig) => rig.lines.filter(({ level, message }) => level === 'warn' && message.includes('has not confirmed'));
const n1 = (rest: Partial<Telling> = {}) => tell({ pods: ['n1'], revision: 10, confirmed: { n1: 10, n2: 3 }, ...rest });
const n1n2 = (rest: Partial<Telling> = {}) => tell({ pods: ['n1', 'n2'], revision: 20, confirmed: { n1: 10, n2: 3 }, ...rest });

test('a new node waits until it confirms what the wait began with; older nodes do not', async () => {
  const rig = director();
  await rig.publish(whole(n1()));
  assert.deepEqual(weights(rig.kernel), { n1: 1 });
  await rig.publish(changed(n1n2(), 'web'));
  assert.deepEqual(weights(rig.kernel), { n1: 1 });
  await rig.advance(2000);
  assert.deepEqual(weights(rig.kernel), { n1: 1 });
  await rig.publish(confirmation(n1n2({ confirmed: { n1: 10, n2: 19 } })));
  assert.deepEqual(weights(rig.kernel), { n1: 1 }, 'one short of it');
  await rig.publish(confirmation(n1n2({ confirmed: { n1: 10, n2: 20 } })));
  assert.deepEqual(weights(rig.kernel), { n1: 1, n2: 1 });
  assert.deepEqual(warnings(rig), []);
  await rig.kill();
});

test('changes during the wait do not prolong it', async () => {
  const rig = director();
  await rig.publish(whole(n1()));
  await rig.publish(changed(n1n2(), 'web'));
  await rig.publish(changed(n1n2({ revision: 30, confirmed: { n2: 20 } }), 'web'));
  assert.deepEqual(weights(rig.kernel), { n1: 1, n2: 1 });
  await rig.kill();
});

test('who never confirms gets connections when the time is up, and that is told once', async () => {
  const rig = director({ readinessMilliseconds: 4000 });
  await rig.publish(whole(n1()));
  await rig.publish(changed(n1n2(), 'web'));
  await rig.advance(3900);
  assert.deepEqual(weights(rig.kernel), { n1: 1 });
  await rig.advance(100);
  assert.deepEqual(weights(rig.kernel), { n1: 1, n2: 1 });
  assert.deepEqual(
    warnings(rig).map(({ fields }) => [fields['node'], fields['service'], fields['services']]),
    [['n2', 'default/web', 1]],
  );
  await rig.publish(whole(n1n2({ revision: 21 })));
  await rig.advance(60_000);
  assert.equal(warnings(rig).length, 1);
  await rig.kill();
});

test('a director that starts on weights that are up leaves them there', async () => {
  const first = director();
  await first.publish(whole(n1n2({ confirmed: { n1: 20, n2: 20 } })));
  assert.deepEqual(weights(first.kernel), { n1: 1, n2: 1 });
  await first.kill();
  first.kernel.journal.clear();
  const second = director({}, first.kernel, first.folder);
  await second.publish(whole(n1n2({ confirmed: {} })));
  assert.equal(second.kernel.writes, 0);
  assert.deepEqual(weights(second.kernel), { n1: 1, n2: 1 });
  await second.kill();
});

test('a service that nobody serves yet says whom it waits for, and is announced with the first that confirms', async () => {
  const rig = director();
  await rig.publish(whole(tell({ pods: ['n1', 'n2'], revision: 10, confirmed: {} })));
  assert.deepEqual(rig.kernel.ipvs.services(), []);
  const { reasons, vips } = rig.composition.plane.status();
  assert.equal(reasons.get(key)?.code, 'AwaitingNode');
  assert.match(reasons.get(key)?.message ?? '', /n1, n2/);
  assert.deepEqual(
    vips.map(({ address, announced, reason }) => [address, announced, reason?.code]),
    [[vip, false, 'AwaitingNode']],
  );
  const state = tell({ pods: ['n1', 'n2'], revision: 10, confirmed: { n2: 11 } });
  await rig.publish(confirmation(state));
  assert.deepEqual(weights(rig.kernel), { n2: 1 });
  assert.equal(rig.composition.plane.status().reasons.get(key), undefined);
  await rig.kill();
});

test('the last node that serves stays until the next one confirms', async () => {
  const rig = director();
  await rig.publish(whole(n1()));
  const moved = (confirmed: Record<string, number>) => tell({ pods: ['n1 serving', 'n2'], revision: 20, confirmed });
  await rig.publish(changed(moved({ n1: 20, n2: 3 }), 'web'));
  assert.deepEqual(weights(rig.kernel), { n1: 1 });
  await rig.publish(confirmation(moved({ n1: 20, n2: 20 })));
  assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 });
  await rig.kill();
});

test('where the last one cannot serve any more, waiting would gain nothing', async () => {
  for (const state of [
    tell({ pods: ['n2'], revision: 20, confirmed: { n1: 20, n2: 3 } }),
    tell({ pods: ['n1', 'n2'], revision: 20, confirmed: { n1: 20, n2: 3 }, nodes: { n1: { ready: false } } }),
  ]) {
    const rig = director();
    await rig.publish(whole(n1()));
    connect(rig.kernel, 'n1', 1);
    await rig.publish(whole(state));
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 });
    await rig.kill();
  }
});

test('a confirmation that comes at whatever moment of a pass is not missed', async () => {
  for (let turns = 0; turns < 40; turns += 1) {
    const rig = director();
    await rig.publish(whole(n1()));
    rig.loop.publish(changed(n1n2(), 'web'));
    for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
    rig.loop.publish(confirmation(n1n2({ confirmed: { n1: 20, n2: 20 } })));
    await rig.advance(0);
    assert.deepEqual(weights(rig.kernel), { n1: 1, n2: 1 }, `after ${turns} turns`);
    await rig.kill();
  }
});

test('where nobody confirms, the fixed delay goes, and the first pass does not wait', async () => {
  const rig = director({ handoverMilliseconds: 1000 });
  await rig.publish(whole(tell({ pods: ['n1'] })));
  assert.deepEqual(weights(rig.kernel), { n1: 1 });
  await rig.publish(changed(tell({ pods: ['n1', 'n2'] }), 'web'));
  assert.deepEqual(weights(rig.kernel), { n1: 1 });
  await rig.advance(1000);
  assert.deepEqual(weights(rig.kernel), { n1: 1, n2: 1 });
  await rig.kill();
});

test('two nodes of one address are one destination: their pods add up, and both have to confirm', async () => {
  const twins = { n2: { addresses: ['10.20.0.1'] } };
  const state = (confirmed: Record<string, number>) => tell({ pods: ['n1', 'n2', 'n3'], nodes: twins, revision: 20, confirmed });
  const rig = director();
  await rig.publish(whole(state({ n1: 20, n3: 20 })));
  assert.deepEqual(weights(rig.kernel), { n3: 1 });
  await rig.publish(confirmation(state({ n1: 20, n2: 20, n3: 20 })));
  assert.deepEqual(weights(rig.kernel), { n1: 2, n3: 1 });
  await rig.kill();
});
