/** Random histories of a whole director, killed and started anew at any moment: where they end, and what never happens on the way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { directorService } from '../../src/desired/director.ts';
import type { ClusterState, Node } from '../../src/model/cluster.ts';
import { changed, whole } from './cluster.ts';
import { director, key, tell, weights } from './drain-cluster.ts';
import type { Rig } from './rig.ts';

const nodes = ['n1', 'n2', 'n3'] as const;
const pod = fc.tuple(fc.constantFrom(...nodes), fc.constantFrom('ready', 'ready', 'ready', 'serving', 'ending', 'waiting'));
const moment = fc.record({
  pods: fc.array(pod, { maxLength: 5 }),
  /** Nodes out of order at this moment. */
  out: fc.subarray([...nodes], { maxLength: 2 }),
  how: fc.constantFrom<Partial<Node>>(
    { ready: false },
    { unschedulable: true },
    { labels: { 'node.kubernetes.io/exclude-from-external-load-balancers': '' } },
  ),
  /** Whether realservers have programmed this moment before the next one. */
  confirmed: fc.boolean(),
  connections: fc.array(fc.tuple(fc.constantFrom(...nodes), fc.constantFrom(0, 3)), { maxLength: 3 }),
  wait: fc.constantFrom(0, 0, 400, 1500, 12_000, 40_000),
  killed: fc.boolean(),
});

const isEligible = (node: Node | undefined): boolean =>
  node !== undefined && node.ready && !node.unschedulable && Object.keys(node.labels).length === 0;

const readyPods = (state: ClusterState): number =>
  state.services.get('default/web')?.endpoints.filter(({ ready, node }) => ready && isEligible(state.nodes.get(node ?? ''))).length ?? 0;

const sum = (rig: Rig): number => Object.values(weights(rig.kernel)).reduce((total, weight) => total + weight, 0);

test('a director that is killed and started again and again ends where one ends that never was', async (t) => {
  let histories = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(moment, { minLength: 1, maxLength: 8 }),
      fc.constantFrom(3000, 30_000),
      async (moments, drainMilliseconds) => {
        histories += 1;
        const options = { drainMilliseconds, readinessMilliseconds: 5000 };
        let rig = director(options);
        let state = tell({ pods: ['n1', 'n2'], revision: 1, confirmed: { n1: 1, n2: 1, n3: 1 } });
        await rig.publish(whole(state));
        let revision = 1;
        for (const { pods, out, how, confirmed, connections, wait, killed } of moments) {
          revision += 1;
          const before = sum(rig);
          const outOfOrder = Object.fromEntries(out.map((name) => [name, how]));
          const known = Object.fromEntries(nodes.map((name) => [name, confirmed ? revision : revision - 1]));
          const next = tell({
            pods: pods.map(([node, how]) => (how === 'ready' ? node : `${node} ${how}`)),
            nodes: outOfOrder,
            revision,
            confirmed: known,
          });
          for (const [node, count] of connections) {
            const there = weights(rig.kernel);
            if ((there[node] ?? -1) > 0 || (count === 0 && node in there))
              rig.kernel.ipvs.setConnections(key, `10.20.0.${node.slice(1)}:80`, count);
          }
          const onlyPods = JSON.stringify([...next.nodes]) === JSON.stringify([...state.nodes]) && !killed;
          state = next;
          if (killed) {
            await rig.kill();
            rig = director(options, rig.kernel, rig.folder);
          }
          await rig.publish(onlyPods ? changed(state, 'web') : whole(state));
          if (before > 0 && readyPods(state) > 0) assert.ok(sum(rig) > 0, 'the last weight went while a pod is ready');
          await rig.advance(wait);
          if (before > 0 && readyPods(state) > 0) assert.ok(sum(rig) > 0, 'the last weight went while a pod is ready');
          assert.deepEqual(rig.loop.status().failures, []);
        }
        await rig.advance(120_000);
        const virtualService = state.virtualServices.get(key);
        assert.ok(virtualService);
        const wanted = directorService(state, virtualService).service?.destinations ?? [];
        assert.deepEqual(
          weights(rig.kernel),
          Object.fromEntries(wanted.map(({ id, spec }) => [`n${id.address.split('.')[3] ?? ''}`, spec.weight])),
        );
        rig.kernel.journal.clear();
        await rig.advance(600_000);
        assert.equal(rig.kernel.writes, 0, 'at rest');
        await rig.kill();
      },
    ),
    { numRuns: 200 },
  );
  t.diagnostic(`note: drain with restarts on the fake kernel: ${histories} random histories`);
});
