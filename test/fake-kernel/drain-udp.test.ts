/** Flows without an end: what nobody serves any more goes at once, so that the sender is given to somebody who does. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { ClusterState, VirtualService } from '../../src/model/cluster.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { whole } from './cluster.ts';
import { director, tell, vip, weights, type Telling } from './drain-cluster.ts';
import type { Rig } from './rig.ts';

for (const protocol of ['udp', 'sctp'] as const) {
  const key = `${protocol} ${vip}:80`;
  /** The same cluster with another protocol on the port. */
  const told = (telling: Telling): ClusterState => {
    const state = tell(telling);
    const service: VirtualService = { ...[...state.virtualServices.values()][0]!, key, protocol };
    return { ...state, virtualServices: new Map([[key, service]]), virtualServicesOf: new Map([['default/web', [service]]]) };
  };
  const changed = (telling: Telling) => ({
    ...whole(told(telling)),
    change: { all: false, virtualServices: new Set([key]) } as const,
  });
  const held = (rig: Rig): Record<string, number> => weights(rig.kernel, key);
  const connect = (rig: Rig, node: string, count: number): void =>
    rig.kernel.ipvs.setConnections(key, `10.20.0.${node.slice(1)}:80`, count);
  const started = async (options: Partial<AgentOptions> = {}): Promise<Rig> => {
    const rig = director(options);
    await rig.publish(whole(told({ pods: ['n1', 'n2'] })));
    connect(rig, 'n1', 5);
    return rig;
  };

  suite(`${protocol}: a node that leaves`, () => {
    test('without pods goes at once, whatever still goes there', async () => {
      const rig = await started();
      await rig.publish(changed({ pods: ['n2'] }));
      assert.deepEqual(held(rig), { n2: 1 });
      await rig.kill();
    });

    test('while its pods terminate and serve is emptied, and goes with them', async () => {
      const rig = await started();
      await rig.publish(changed({ pods: ['n1 serving', 'n2'] }));
      assert.deepEqual(held(rig), { n1: 0, n2: 1 });
      await rig.advance(30_000);
      assert.deepEqual(held(rig), { n1: 0, n2: 1 });
      await rig.publish(changed({ pods: ['n1 ending', 'n2'] }));
      assert.deepEqual(held(rig), { n2: 1 }, 'a pod that does not serve answers nobody');
      await rig.kill();
    });

    test('that is cordoned finishes what it has', async () => {
      const rig = await started();
      await rig.publish(whole(told({ pods: ['n1', 'n2'], nodes: { n1: { unschedulable: true } } })));
      await rig.advance(60_000);
      assert.deepEqual(held(rig), { n1: 0, n2: 1 });
      await rig.advance(61_000);
      assert.deepEqual(held(rig), { n2: 1 });
      await rig.kill();
    });

    test('that is not ready goes at once', async () => {
      const rig = await started();
      await rig.publish(whole(told({ pods: ['n1', 'n2'], nodes: { n1: { ready: false } } })));
      assert.deepEqual(held(rig), { n2: 1 });
      await rig.kill();
    });

    test('is kept as an idle destination only when its flows are forgotten: until then it would have them back', async () => {
      const rig = await started({ idleDestinations: 'keep' });
      assert.deepEqual(held(rig), { n1: 1, n2: 1, n3: 0 }, 'one that never had flows may be there');
      await rig.publish(changed({ pods: ['n2'] }));
      assert.deepEqual(held(rig), { n2: 1, n3: 0 });
      await rig.advance(60_000);
      assert.deepEqual(held(rig), { n2: 1, n3: 0 });
      await rig.advance(61_000);
      assert.deepEqual(held(rig), { n1: 0, n2: 1, n3: 0 });
      await rig.publish(changed({ pods: ['n1', 'n2'] }));
      assert.deepEqual(held(rig), { n1: 1, n2: 1, n3: 0 });
      await rig.kill();
    });

    test('the last one goes at once as well, with its service', async () => {
      const rig = await started();
      await rig.publish(changed({ pods: [] }));
      assert.deepEqual(rig.kernel.ipvs.services(), []);
      assert.equal(rig.composition.plane.status().reasons.get(key)?.code, 'NoEndpoints');
      await rig.kill();
    });
  });
}
