/** What becomes of a VIP's announcement when the kernel refuses backends: it follows what serves, not what was asked for. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { AgentOptions } from '../../src/modes/options.ts';
import type { Address } from '../../src/model/cluster.ts';
import { web } from './bgp-rig.ts';
import { changed, whole } from './cluster.ts';
import { Rig } from './rig.ts';

const vip = '192.0.2.10';
const add = 'ipvs.addDestination';

/** Neither route nor frame is a matter of time here: both follow at once. */
async function announced(rig: Rig, address: Address = vip): Promise<boolean | undefined> {
  await rig.advance(0);
  return rig.composition.plane.vip(address).announced;
}

for (const mode of ['bgp', 'director'] as const satisfies readonly AgentOptions['mode'][]) {
  suite(`mode ${mode}: the kernel refuses backends`, () => {
    test('the last one moves and is refused: silent, with its reason; then it is taken, and announced again', async () => {
      const rig = new Rig(mode);
      const at = (node: string) => web([vip, '192.0.2.11'], { web: [node] });
      await rig.publish(whole(at('n1')));
      rig.kernel.faults.failNext({ op: add, code: 'ENOMEM', subject: `${vip}:80`, times: Infinity });
      await rig.publish(changed(at('n2'), 'web'));
      assert.ok(rig.kernel.faults.struck > 0);
      assert.equal(await announced(rig), false);
      assert.equal(rig.composition.plane.vip(vip).reason?.code, 'NotProgrammed');
      assert.equal(await announced(rig, '192.0.2.11'), true, 'the others are none of its business');
      rig.kernel.faults.heal();
      await rig.advance(30_000);
      assert.equal(await announced(rig), true);
      await rig.kill();
    });

    test('the same in a pass over everything', async () => {
      const rig = new Rig(mode);
      await rig.publish(whole(web([vip], { web: ['n1'] })));
      rig.kernel.faults.failNext({ op: add, code: 'ENOMEM', times: Infinity });
      await rig.publish(whole(web([vip], { web: ['n2'] })));
      assert.equal(await announced(rig), false);
      rig.kernel.faults.heal();
      await rig.advance(30_000);
      assert.equal(await announced(rig), true);
      await rig.kill();
    });

    test('one of two is refused: what there is is announced, and stays so whatever else is refused', async () => {
      const rig = new Rig(mode);
      rig.kernel.faults.failNext({ op: add, code: 'ENOMEM', subject: '-> 10.20.0.2', times: Infinity });
      await rig.publish(whole(web([vip])));
      assert.equal(await announced(rig), true);
      assert.equal(rig.loop.status().failures.length, 1, 'and what is missing is told');
      rig.kernel.faults.failNext({ op: 'ipvs.setDestination', code: 'ENOMEM', times: Infinity });
      const before = rig.kernel.faults.struck;
      await rig.publish(changed(web([vip], { web: [...Array.from({ length: 20 }, () => 'n1'), 'n2'] }), 'web'));
      await rig.advance(30_000);
      const [{ destinations } = { destinations: [] }] = rig.kernel.ipvs.services();
      assert.deepEqual(
        destinations.map(({ spec }) => spec.weight),
        [1],
        'refused, every time',
      );
      assert.ok(rig.kernel.faults.struck > before + 1, 'the one of before, and the weight');
      assert.equal(await announced(rig), true, 'a weight that could not be raised is still a weight');
      await rig.kill();
    });

    test('a backend on its way down comes back, and is refused: silent', async () => {
      const rig = new Rig(mode);
      await rig.publish(whole(web([vip], { web: ['n1'] })));
      rig.kernel.ipvs.setConnections(`tcp ${vip}:80`, '10.20.0.1:80', 3);
      await rig.publish(changed(web([vip], { web: [] }), 'web'));
      assert.equal(await announced(rig), false);
      rig.kernel.faults.failNext({ op: 'ipvs.setDestination', code: 'ENOMEM', times: Infinity });
      await rig.publish(changed(web([vip], { web: ['n1'] }), 'web'));
      assert.equal(await announced(rig), false, 'its weight is still 0');
      rig.kernel.faults.heal();
      await rig.advance(30_000);
      assert.equal(await announced(rig), true);
      await rig.kill();
    });

    test('the address is lost, and refused: silent', async () => {
      const rig = new Rig(mode);
      await rig.publish(whole(web([vip, '192.0.2.11'])));
      rig.kernel.faults.failNext({ op: 'links.addAddress', code: 'ENOMEM', subject: vip, times: Infinity });
      rig.kernel.links.applyAsOther([{ op: 'deleteAddress', interface: 'ravel0', address: vip, prefix: 32 }]);
      await rig.advance(70_000);
      assert.equal(await announced(rig), false);
      assert.equal(await announced(rig, '192.0.2.11'), true);
      rig.kernel.faults.heal();
      await rig.advance(70_000);
      assert.equal(await announced(rig), true);
      await rig.kill();
    });
  });
}
