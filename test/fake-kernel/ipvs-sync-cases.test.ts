/** `--ipvs-sync` in an agent: both modes of a director, plan, a restart, an end, and a kernel that will not. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { temporaryDirectory } from '../temporary-directory.ts';
import { ravelAgent } from '../unit/cli.ts';
import { cluster, whole } from './cluster.ts';
import type { FakeKernel } from './kernel.ts';
import { freshKernel, Rig } from './rig.ts';

const state = cluster({ pods: { web: ['n1'] }, vips: [['192.0.2.10', 80, 'web']] });
const asked = { ipvsSync: { interface: 'eth0', syncId: 7 } };
const running = async (kernel: FakeKernel): Promise<string[]> =>
  (await kernel.ipvs.syncDaemons()).map(({ role, interface: device, syncId }) => `${role} ${device} ${syncId}`).sort();
const both = ['backup eth0 7', 'master eth0 7'];

suite('connection synchronization in a director', () => {
  for (const mode of ['director', 'bgp'] as const) {
    test(`${mode}: started with the first pass, adopted by the next process, stopped when it is not asked for`, async () => {
      const first = new Rig(mode, undefined, asked);
      const { changes } = await first.composition.plane.preview(state);
      assert.deepEqual(changes.filter(({ op }) => op === 'startSyncDaemon').length, 2);
      assert.deepEqual(await running(first.kernel), []);
      await first.publish(whole(state));
      assert.deepEqual(await running(first.kernel), both);
      assert.deepEqual(first.loop.status().failures, []);
      await first.kill();
      assert.deepEqual(await running(first.kernel), both, 'the data plane outlives the agent');
      first.kernel.journal.clear();
      const second = new Rig(mode, first.kernel, asked, first.folder, {}, { daemon: first.daemon });
      await second.publish(whole(state));
      await second.advance(61_000);
      assert.equal(first.kernel.writes, 0);
      await second.kill();
      const third = new Rig(mode, first.kernel, {}, first.folder, {}, { daemon: first.daemon });
      await third.publish(whole(state));
      assert.deepEqual(await running(first.kernel), []);
      await third.kill();
    });
  }

  test('by default nobody is told, and nobody asks the kernel about it', async () => {
    const rig = new Rig('bgp');
    rig.kernel.faults.failNext({ op: 'ipvs.syncDaemons', code: 'EPERM', times: Infinity });
    await rig.publish(whole(state));
    assert.deepEqual(rig.loop.status().failures, []);
    assert.equal(rig.kernel.faults.struck, 0);
    await rig.kill();
  });

  test('a kernel that will not keeps nothing else from being done, and is asked again', async () => {
    const rig = new Rig('director', undefined, asked);
    rig.kernel.faults.failNext({ op: 'ipvs.startSyncDaemon', code: 'ENODEV', times: 2 });
    await rig.publish(whole(state));
    assert.equal(rig.kernel.ipvs.services().length, 1);
    assert.deepEqual([...new Set(rig.loop.status().failures.map(({ op }) => op))], ['ipvs.startSyncDaemon']);
    assert.ok(rig.composition.plane.vip('192.0.2.10').announced);
    await rig.advance(10_000);
    assert.deepEqual(rig.loop.status().failures, []);
    assert.deepEqual(await running(rig.kernel), both);
    await rig.kill();
  });

  test('cleanup stops what is on record, and without a record nothing', async () => {
    const folder = temporaryDirectory('ravel-sync-');
    const file = join(folder, 'cluster.yaml');
    writeFileSync(file, 'nodes: []\nservices: []\nconfig: {}\n');
    const kernel = freshKernel();
    const once = ['director', '--once', '--compute-iface=eth0', `--source-file=${file}`, `--state-dir=${folder}`, '--ipvs-sync=eth0,id=7'];
    assert.equal((await ravelAgent(once, { kernel })).code, 0);
    assert.deepEqual(await running(kernel), both);
    await ravelAgent(['cleanup', '--mode=director', `--state-dir=${folder}/elsewhere`], { kernel });
    assert.deepEqual(await running(kernel), both, 'nobody knows there whose they are');
    const { out, code } = await ravelAgent(['cleanup', '--mode=director', `--state-dir=${folder}`], { kernel });
    assert.equal(code, 0);
    assert.match(out, /- ipvs +connection synchronization, master of sync id 7 on eth0: stop/);
    assert.deepEqual(await running(kernel), []);
  });
});
