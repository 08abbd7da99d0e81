/** Nodes leave a director by drain: weight 0, then nothing, and a restart at any moment of it ends in the same place. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { applyServiceChange } from '../../src/model/publish.ts';
import { changed, cluster, whole } from './cluster.ts';
import { connect, director, endpointsOf, key, tell, vip, weights } from './drain-cluster.ts';

const both = tell({ pods: ['n1', 'n1', 'n2'] });
const left = tell({ pods: ['n1 serving', 'n1 ending', 'n2'] });
const gone = tell({ pods: ['n2'] });

suite('a node that leaves', () => {
  test('keeps its connections at weight 0, and goes with the last of them', async () => {
    const rig = director();
    await rig.publish(whole(both));
    assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1 });
    connect(rig.kernel, 'n1', 5, 3);
    await rig.publish(changed(gone, 'web'));
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 });
    await rig.advance(30_000);
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 }, 'eight connections');
    connect(rig.kernel, 'n1', 0, 1);
    await rig.advance(5000);
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 }, 'one that is closing');
    connect(rig.kernel, 'n1', 0, 0);
    await rig.advance(1500);
    assert.deepEqual(weights(rig.kernel), { n2: 1 });
    await rig.kill();
  });

  test('goes when the time is up, whatever is still connected', async () => {
    const rig = director({ drainMilliseconds: 20_000 });
    await rig.publish(whole(both));
    connect(rig.kernel, 'n1', 5);
    await rig.publish(changed(gone, 'web'));
    await rig.advance(19_900);
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 });
    await rig.advance(100);
    assert.deepEqual(weights(rig.kernel), { n2: 1 });
    await rig.kill();
  });

  test('a Service has a time of its own, and 0s is at once', async () => {
    for (const [timeoutMilliseconds, expected] of [
      [5000, { n1: 0, n2: 1 }],
      [0, { n2: 1 }],
    ] as const) {
      const rig = director();
      await rig.publish(whole(both));
      connect(rig.kernel, 'n1', 5);
      await rig.publish(changed(tell({ pods: ['n2'], drain: { timeoutMilliseconds } }), 'web'));
      assert.deepEqual(weights(rig.kernel), expected);
      await rig.advance(5000);
      assert.deepEqual(weights(rig.kernel), { n2: 1 });
      await rig.kill();
    }
  });

  test('stays while its pods are terminating: they may be needed again', async () => {
    const rig = director();
    await rig.publish(whole(both));
    await rig.publish(changed(left, 'web'));
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 });
    await rig.advance(60_000);
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 });
    await rig.publish(changed(tell({ pods: ['n1 serving', 'n1 ending', 'n2 waiting'] }), 'web'));
    assert.deepEqual(weights(rig.kernel), { n1: 1, n2: 0 }, 'the one that serves is the last resort');
    await rig.publish(changed(tell({ pods: ['n1 ending', 'n2'] }), 'web'));
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 });
    await rig.advance(2000);
    assert.deepEqual(weights(rig.kernel), { n2: 1 }, 'a pod that does not serve keeps nothing');
    await rig.kill();
  });

  test('and comes back before it is gone: no delete, no add', async () => {
    const rig = director();
    await rig.publish(whole(both));
    connect(rig.kernel, 'n1', 5);
    await rig.publish(changed(gone, 'web'));
    rig.kernel.journal.clear();
    await rig.publish(changed(both, 'web'));
    assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1 });
    assert.deepEqual(
      rig.kernel.journal.calls.map(({ op }) => op),
      ['ipvs.setDestination'],
    );
    await rig.advance(300_000);
    assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1 });
    await rig.kill();
  });

  test('the last one takes its service along, and its VIP is silent at once', async () => {
    const rig = director();
    await rig.publish(whole(tell({ pods: ['n1'] })));
    connect(rig.kernel, 'n1', 5);
    await rig.publish(changed(tell({ pods: [] }), 'web'));
    assert.deepEqual(weights(rig.kernel), { n1: 0 });
    const status = rig.composition.plane.status();
    assert.equal(status.vips[0]?.announced, false);
    assert.equal(status.reasons.get(key)?.code, 'NoEndpoints');
    connect(rig.kernel, 'n1', 0);
    await rig.advance(1500);
    assert.deepEqual(rig.kernel.ipvs.services(), []);
    assert.equal(rig.loop.status().held, undefined);
    await rig.kill();
  });

  test('a virtual service taken out of the configuration does not wait for anything', async () => {
    const rig = director();
    await rig.publish(whole(both));
    connect(rig.kernel, 'n1', 5);
    await rig.publish(whole(cluster({ pods: { web: [] }, vips: [] })));
    assert.deepEqual(rig.kernel.ipvs.services(), []);
    await rig.kill();
  });

  test('idle destinations that are kept are never removed from an eligible node, and are from another', async () => {
    const rig = director({ idleDestinations: 'keep' });
    await rig.publish(whole(both));
    assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1, n3: 0 });
    await rig.publish(changed(gone, 'web'));
    await rig.advance(300_000);
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1, n3: 0 });
    await rig.publish(whole(tell({ pods: ['n2'], nodes: { n1: { unschedulable: true } } })));
    await rig.advance(1500);
    assert.deepEqual(weights(rig.kernel), { n2: 1, n3: 0 });
    await rig.kill();
  });

  test('a destination on another port is nobody we know: it goes at once', async () => {
    const rig = director();
    await rig.publish(whole(both));
    const service = { protocol: 'tcp', address: vip, port: 80 } as const;
    await rig.kernel.ipvs.apply([
      { op: 'addDestination', service, destination: { address: '10.20.0.9', port: 81 }, spec: { forward: 'direct', weight: 1 } },
      { op: 'addDestination', service, destination: { address: '10.20.0.9', port: 80 }, spec: { forward: 'direct', weight: 1 } },
    ]);
    rig.loop.doubt('test');
    await rig.advance(0);
    assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1, n9: 0 }, 'the other may be a node that was deleted while no agent ran');
    await rig.advance(1500);
    assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1 });
    await rig.kill();
  });
});

suite('steps', () => {
  const drain = { steps: { count: 4, milliseconds: 30_000 } };
  const start = tell({ pods: ['n1', 'n1', 'n2'], drain });
  const leaving = tell({ pods: ['n1 serving', 'n1 serving', 'n2'], drain });

  test('a weight goes down in equal steps, the first at once and the last at the end of the time', async () => {
    const rig = director();
    await rig.publish(whole(start));
    assert.deepEqual(weights(rig.kernel), { n1: 8, n2: 4 });
    await rig.publish(changed(leaving, 'web'));
    const seen: number[] = [];
    for (const wait of [0, 9900, 200, 9800, 200, 9800, 200]) {
      await rig.advance(wait);
      seen.push(weights(rig.kernel)['n1'] ?? -1);
    }
    assert.deepEqual(seen, [6, 6, 4, 4, 2, 2, 0]);
    await rig.kill();
  });

  test('after a restart the steps go on from the weight in the kernel, and never up', async () => {
    const first = director();
    await first.publish(whole(start));
    await first.publish(changed(leaving, 'web'));
    await first.advance(10_100);
    assert.equal(weights(first.kernel)['n1'], 4);
    await first.kill();
    const second = director({}, first.kernel, first.folder);
    const seen: number[] = [];
    await second.publish(whole(leaving));
    for (const wait of [0, 9900, 200, 9800, 200]) {
      await second.advance(wait);
      seen.push(weights(second.kernel)['n1'] ?? -1);
    }
    assert.deepEqual(seen, [4, 4, 2, 2, 0]);
    await second.kill();
  });

  test('a node that cannot serve any more is not sent anything step by step', async () => {
    for (const state of [
      tell({ pods: ['n1 ending', 'n2'], drain }),
      tell({ pods: ['n1', 'n1', 'n2'], drain, nodes: { n1: { ready: false } } }),
      tell({ pods: ['n1', 'n1', 'n2'], drain, nodes: { n1: null } }),
    ]) {
      const rig = director();
      await rig.publish(whole(start));
      connect(rig.kernel, 'n1', 1);
      await rig.publish(whole(state));
      assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 4 });
      await rig.kill();
    }
  });

  test('a cordoned node leaves in steps too', async () => {
    const rig = director();
    await rig.publish(whole(start));
    await rig.publish(whole(tell({ pods: ['n1', 'n1', 'n2'], drain, nodes: { n1: { unschedulable: true } } })));
    assert.deepEqual(weights(rig.kernel), { n1: 6, n2: 4 });
    connect(rig.kernel, 'n1', 1);
    await rig.advance(31_000);
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 4 });
    connect(rig.kernel, 'n1', 0);
    await rig.advance(1500);
    assert.deepEqual(weights(rig.kernel), { n2: 4 });
    await rig.kill();
  });
});

suite('a restart in each phase of a drain', () => {
  /** What is published, how long it is left alone, and the connections of n1, before the agent dies. */
  const phases = [
    { name: '1, before: ready pods', state: both, wait: 0, connections: 5, then: both, end: { n1: 2, n2: 1 } },
    { name: '2, pods are terminating', state: left, wait: 0, connections: 5, then: left, end: { n1: 0, n2: 1 } },
    { name: '3, pods are gone, connections are not', state: gone, wait: 3000, connections: 5, then: gone, end: { n1: 0, n2: 1 } },
    { name: '4, connections are over', state: gone, wait: 0, connections: 0, then: gone, end: { n2: 1 } },
    { name: '5, removed', state: gone, wait: 5000, connections: 0, then: gone, end: { n2: 1 } },
  ] as const;

  for (const { name, state, wait, connections, then, end } of phases) {
    test(`phase ${name}: the next agent goes on from there`, async () => {
      const first = director();
      await first.publish(whole(both));
      connect(first.kernel, 'n1', connections);
      await first.publish(changed(state, 'web'));
      await first.advance(wait);
      const before = weights(first.kernel);
      await first.kill();
      first.kernel.journal.clear();
      const second = director({}, first.kernel, first.folder);
      await second.publish(whole(then));
      assert.equal(second.kernel.writes <= 1, true, 'at most the removal of what is empty');
      for (const [node, weight] of Object.entries(before)) assert.ok((weights(second.kernel)[node] ?? 0) <= weight);
      await second.advance(2500);
      assert.deepEqual(weights(second.kernel), end);
      // The timeout begins anew with the process, and ends.
      await second.advance(130_000);
      assert.deepEqual(weights(second.kernel), then === both ? { n1: 2, n2: 1 } : { n2: 1 });
      await second.kill();
    });
  }

  test('what happened while no agent ran is a drain all the same', async () => {
    const first = director();
    await first.publish(whole(both));
    connect(first.kernel, 'n1', 5);
    await first.kill();
    const second = director({}, first.kernel, first.folder);
    await second.publish(whole(tell({ pods: ['n2'], nodes: { n1: null } })));
    assert.deepEqual(weights(second.kernel), { n1: 0, n2: 1 });
    connect(second.kernel, 'n1', 0);
    await second.advance(1500);
    assert.deepEqual(weights(second.kernel), { n2: 1 });
    await second.kill();
  });
});

suite('a kernel that refuses', () => {
  test('to be read while something drains: tried again ever more slowly, and the drain ends', async () => {
    const rig = director();
    await rig.publish(whole(both));
    connect(rig.kernel, 'n1', 1);
    await rig.publish(changed(gone, 'web'));
    connect(rig.kernel, 'n1', 0);
    const before = rig.loop.status().passes;
    rig.kernel.faults.failNext({ op: 'ipvs.snapshot', code: 'ENOBUFS', times: 12 });
    await rig.advance(10_000);
    assert.ok(rig.loop.status().passes - before < 15, String(rig.loop.status().passes - before));
    assert.equal(rig.loop.status().failures.length, 1);
    assert.deepEqual(weights(rig.kernel), { n1: 0, n2: 1 });
    await rig.advance(600_000);
    assert.deepEqual(rig.loop.status().failures, []);
    assert.deepEqual(weights(rig.kernel), { n2: 1 });
    await rig.kill();
  });

  for (const op of ['ipvs.setDestination', 'ipvs.deleteDestination']) {
    test(`${op}, for a while: the others stand, and the drain ends`, async () => {
      const rig = director({ drainMilliseconds: 5000 });
      await rig.publish(whole(both));
      connect(rig.kernel, 'n1', 1);
      rig.kernel.faults.failNext({ op, code: 'ENOMEM', times: 3 });
      await rig.publish(changed(tell({ pods: ['n2', 'n3'] }), 'web'));
      assert.equal(weights(rig.kernel)['n3'], 1);
      await rig.advance(60_000);
      assert.deepEqual(rig.loop.status().failures, []);
      assert.deepEqual(weights(rig.kernel), { n2: 1, n3: 1 });
      await rig.kill();
    });
  }
});

suite('what a drain costs', () => {
  const names = Array.from({ length: 40 }, (_, index) => `s${index}`);
  const big = cluster({
    pods: Object.fromEntries(names.map((name) => [name, ['n1', 'n2']])),
    vips: names.map((name, index) => [`10.50.0.${index + 1}`, 80, name] as const),
  });
  const without = (name: string) => {
    const service = big.services.get(`default/${name}`);
    assert.ok(service);
    return applyServiceChange(big, { ...service, endpoints: service.endpoints.filter(({ node }) => node !== 'n1') });
  };

  test('the kernel is read about once a second while something drains, and not at all when nothing does', async () => {
    const rig = director();
    await rig.publish(whole(big));
    const { journal } = rig.kernel;
    const reads = (): number => journal.reads;
    journal.clear();
    await rig.publish(without('s3'));
    assert.equal(reads(), 0, 'a cut needs no look');
    rig.kernel.ipvs.setConnections('tcp 10.50.0.4:80', '10.20.0.1:80', 1);
    await rig.advance(10_000);
    assert.ok(reads() >= 9 && reads() <= 11, String(reads()));
    rig.kernel.ipvs.setConnections('tcp 10.50.0.4:80', '10.20.0.1:80', 0);
    await rig.advance(2000);
    journal.clear();
    await rig.advance(20_000);
    assert.equal(reads(), 0);
    await rig.kill();
  });

  test('many that drain are looked at together', async () => {
    const rig = director();
    await rig.publish(whole(big));
    for (const name of names.slice(0, 20)) {
      await rig.publish(without(name));
      await rig.advance(37);
    }
    for (const [index] of names.slice(0, 20).entries()) rig.kernel.ipvs.setConnections(`tcp 10.50.0.${index + 1}:80`, '10.20.0.1:80', 1);
    await rig.advance(3000);
    rig.kernel.journal.clear();
    await rig.advance(10_000);
    assert.ok(rig.kernel.journal.reads <= 11, String(rig.kernel.journal.reads));
    await rig.kill();
  });
});

test('endpoints are told as they are', () => {
  assert.deepEqual(
    endpointsOf(['n1', 'n2 ending', 'n3 waiting']).map(({ node, ready, terminating, serving }) => [node, ready, terminating, serving]),
    [
      ['n1', true, false, undefined],
      ['n2', false, true, false],
      ['n3', false, false, undefined],
    ],
  );
});
