/** What a mass loss of backends may do, what somebody else may, and what becomes of connections to a destination that was removed. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { cluster, whole } from './cluster.ts';
import { director, key, tell, vip, weights } from './drain-cluster.ts';
import { freshKernel, type Rig } from './rig.ts';

const both = tell({ pods: ['n1', 'n1', 'n2'] });

suite('the guard', () => {
  const names = Array.from({ length: 40 }, (_, index) => `s${index}`);
  const vips = names.map((name, index) => [`10.50.0.${index + 1}`, 80, name] as const);
  const full = cluster({ pods: Object.fromEntries(names.map((name) => [name, ['n1', 'n2']])), vips });
  const held = (rig: Rig): number => [...rig.composition.plane.status().reasons.values()].filter(({ code }) => code === 'GuardHeld').length;
  const backed = (rig: Rig): number =>
    rig.kernel.ipvs.services().filter(({ destinations }) => destinations.some(({ spec }) => spec.weight > 0)).length;

  test('a node that leaves all services is no removal', async () => {
    const rig = director();
    await rig.publish(whole(full));
    await rig.publish(whole({ ...full, nodes: new Map([...full.nodes].filter(([name]) => name !== 'n1')) }));
    assert.equal(held(rig), 0);
    await rig.advance(1500);
    assert.deepEqual(weights(rig.kernel, 'tcp 10.50.0.1:80'), { n2: 1 });
    await rig.kill();
  });

  test('most services without any endpoint at once: they stay as they are, the others go on', async () => {
    const rig = director();
    await rig.publish(whole(full));
    const pods = Object.fromEntries(names.map((name, index) => [name, index < 32 ? [] : ['n2']]));
    await rig.publish(whole(cluster({ pods, vips })));
    assert.equal(held(rig), 32);
    assert.equal(backed(rig), 40);
    assert.deepEqual(weights(rig.kernel, 'tcp 10.50.0.1:80'), { n1: 1, n2: 1 });
    assert.deepEqual(weights(rig.kernel, 'tcp 10.50.0.40:80'), { n1: 0, n2: 1 });
    await rig.advance(300_000);
    assert.equal(backed(rig), 40, 'held as long as it takes');
    assert.equal(rig.composition.plane.status().vips[0]?.announced, true);
    await rig.publish(whole(full));
    assert.equal(held(rig), 0);
    await rig.kill();
  });

  test('all nodes not ready at once is held; so is nothing less', async () => {
    const rig = director();
    await rig.publish(whole(full));
    const unready = new Map([...full.nodes].map(([name, node]) => [name, { ...node, ready: false }]));
    await rig.publish(whole({ ...full, nodes: unready }));
    assert.equal(held(rig), 40);
    assert.equal(backed(rig), 40);
    await rig.kill();
    const confirmed = director({ guard: { share: 0.5, count: 10, confirmed: true } });
    await confirmed.publish(whole(full));
    await confirmed.publish(whole({ ...full, nodes: unready }));
    assert.equal(backed(confirmed), 0);
    await confirmed.kill();
  });

  test('pods that say themselves that they are not ready are believed, and what has drained may go', async () => {
    const rig = director();
    await rig.publish(whole(full));
    const services = new Map(
      [...full.services].map(([name, service], index) => [
        name,
        { ...service, endpoints: index < 32 ? service.endpoints.map((endpoint) => ({ ...endpoint, ready: false })) : service.endpoints },
      ]),
    );
    await rig.publish(whole({ ...full, services }));
    assert.equal(held(rig), 0);
    assert.equal(backed(rig), 8);
    await rig.advance(1500);
    assert.equal(rig.kernel.ipvs.services().length, 8);
    assert.equal(held(rig), 0);
    await rig.kill();
  });

  test('a few may always go', async () => {
    const few = cluster({
      pods: { a: ['n1'], b: ['n1'] },
      vips: [
        ['10.50.0.1', 80, 'a'],
        ['10.50.0.2', 80, 'b'],
      ],
    });
    const rig = director();
    await rig.publish(whole(few));
    await rig.publish(
      whole(
        cluster({
          pods: { a: [], b: [] },
          vips: [
            ['10.50.0.1', 80, 'a'],
            ['10.50.0.2', 80, 'b'],
          ],
        }),
      ),
    );
    assert.equal(backed(rig), 0);
    await rig.kill();
  });
});

suite('a service of ours that somebody else spoils', () => {
  const service = { protocol: 'tcp', address: vip, port: 80 } as const;
  const spoil = (rig: ReturnType<typeof director>) =>
    rig.kernel.ipvs.apply([
      { op: 'setService', service, spec: { scheduler: 'wrr', persistenceSeconds: 300 } },
      { op: 'addDestination', service, destination: { address: '10.20.0.9', port: 80 }, spec: { forward: 'local', weight: 1 } },
    ]);

  test('is put right without a moment of weight 0, although new nodes would have to wait', async () => {
    for (const [options, state] of [
      [{ handoverMilliseconds: 1000 }, both],
      [{}, tell({ pods: ['n1', 'n1', 'n2'], revision: 5, confirmed: {} })],
    ] as const) {
      const rig = director(options);
      await rig.publish(whole(state));
      await rig.advance(11_000);
      assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1 });
      await spoil(rig);
      rig.loop.doubt('test');
      await rig.advance(0);
      assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1 });
      assert.equal(rig.composition.plane.status().vips[0]?.announced, true);
      await rig.kill();
    }
  });

  test('or that is deleted comes back at once', async () => {
    for (const [options, state] of [
      [{ handoverMilliseconds: 1000 }, both],
      [{}, tell({ pods: ['n1', 'n1', 'n2'], revision: 5, confirmed: {} })],
    ] as const) {
      const rig = director(options);
      await rig.publish(whole(state));
      await rig.advance(11_000);
      await rig.kernel.ipvs.apply([{ op: 'deleteService', service }]);
      rig.loop.doubt('test');
      await rig.advance(0);
      assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1 });
      assert.equal(rig.composition.plane.status().vips[0]?.announced, true);
      await rig.kill();
    }
  });

  test('and is left alone where nobody has a claim to it', async () => {
    const rig = director();
    await rig.kernel.ipvs.apply([{ op: 'addService', service, spec: { scheduler: 'wrr' } }]);
    await spoil(rig);
    await rig.publish(whole(tell({ pods: [] })));
    await rig.advance(300_000);
    assert.deepEqual(weights(rig.kernel), { n9: 1 });
    assert.equal(rig.composition.plane.status().reasons.get(key)?.code, 'ForeignService');
    await rig.kill();
  });
});

suite('connections to a destination that was removed', () => {
  const setting = 'net/ipv4/vs/expire_nodest_conn';
  const kernelWith = (value?: string) => {
    const kernel = freshKernel();
    if (value !== undefined) kernel.sysctls.values.set(setting, value);
    return kernel;
  };

  test('the kernel is told to end them', async () => {
    const rig = director({}, kernelWith('0'));
    await rig.publish(whole(both));
    assert.equal(rig.kernel.sysctls.values.get(setting), '1');
    await rig.kill();
  });

  test('unless the flag says otherwise', async () => {
    const rig = director({ ipvsSysctls: new Map([['expire_nodest_conn', '0']]) }, kernelWith('0'));
    await rig.publish(whole(both));
    assert.equal(rig.kernel.sysctls.values.get(setting), '0');
    assert.deepEqual(rig.composition.plane.status().warnings, []);
    await rig.kill();
  });

  test('a kernel without the setting, or one that may not be written, is a warning and no failure', async () => {
    for (const kernel of [kernelWith(), kernelWith('0')]) {
      kernel.sysctls.readOnly = true;
      const rig = director({}, kernel);
      await rig.publish(whole(both));
      assert.deepEqual(rig.loop.status().failures, []);
      assert.match(rig.composition.plane.status().warnings.join(), /expire_nodest_conn/);
      assert.deepEqual(weights(rig.kernel), { n1: 2, n2: 1 });
      await rig.kill();
    }
  });

  test('a setting asked for by flag that may not be written is a failure; one that the kernel does not have is a warning', async () => {
    const ipvsSysctls = new Map([['sloppy_tcp', '1']]);
    const locked = kernelWith('1');
    locked.sysctls.values.set('net/ipv4/vs/sloppy_tcp', '0');
    locked.sysctls.readOnly = true;
    const refused = director({ ipvsSysctls }, locked);
    await refused.publish(whole(both));
    assert.match(refused.loop.status().failures[0]?.message ?? '', /sloppy_tcp/);
    await refused.kill();
    const without = director({ ipvsSysctls }, kernelWith('1'));
    await without.publish(whole(both));
    assert.deepEqual(without.loop.status().failures, []);
    assert.deepEqual(without.composition.plane.status().warnings, ['net/ipv4/vs/sloppy_tcp: this kernel has no such setting']);
    await without.kill();
  });
});
