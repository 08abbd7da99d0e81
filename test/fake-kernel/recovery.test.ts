/** Death at any point, other hands on our objects, and objects that are not ours. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterState } from '../../src/model/cluster.ts';
import { NAT_TABLE } from '../../src/diff/nat-layout.ts';
import { changed, cluster, whole } from './cluster.ts';
import { mortal } from './mortal.ts';
import { freshKernel, holdings, Rig, variants, type Variant } from './rig.ts';

const vips = [
  ['10.50.0.1', 80, 'web'],
  ['10.50.0.2', 80, 'api'],
] as const;
const small = cluster({ pods: { web: ['n1', 'n2'], api: ['n1', 'n2'] }, vips });
const other = cluster({ pods: { web: ['n1', 'n1'], db: ['n1', 'n2'] }, vips: [vips[0], ['10.50.0.9', 5432, 'db']] });

async function resultOf({ mode, options }: Variant, ...states: ClusterState[]): Promise<unknown> {
  const rig = new Rig(mode, undefined, options);
  for (const state of states) await rig.publish(whole(state));
  const result = await holdings(rig.kernel);
  await rig.kill();
  return result;
}

for (const variant of variants) {
  const { name, mode, options } = variant;
  test(`${name}: killed after any number of operations, the next start ends where it should`, async () => {
    const expected = await resultOf(variant, other);
    for (let allowed = 0; ; allowed += 1) {
      const first = new Rig(mode, undefined, options);
      await first.publish(whole(small));
      await first.kill();
      const ports = mortal(first.kernel, allowed);
      const second = new Rig(mode, first.kernel, options, first.folder, ports);
      await second.publish(whole(other));
      const finished = second.loop.status().failures.length === 0;
      await second.kill();
      const third = new Rig(mode, first.kernel, options, first.folder);
      await third.publish(whole(other));
      // What leaves is emptied first: a second until its connections are looked at.
      await third.advance(3000);
      assert.deepEqual(third.loop.status().failures, [], `after ${allowed} operations`);
      assert.deepEqual(await holdings(first.kernel), expected, `after ${allowed} operations`);
      first.kernel.journal.clear();
      await third.advance(61_000);
      assert.equal(first.kernel.writes, 0);
      await third.kill();
      if (!finished) continue;
      assert.ok(allowed > 2, 'the kill did strike');
      return;
    }
  });

  test(`${name}: a deleted address, device or rule comes back at once, and only that is written`, async () => {
    const rig = new Rig(mode, undefined, options);
    await rig.publish(whole(small));
    const expected = await holdings(rig.kernel);
    rig.kernel.journal.clear();
    rig.kernel.links.applyAsOther([{ op: 'deleteAddress', interface: 'ravel0', address: '10.50.0.1', prefix: 32 }]);
    await rig.advance(900);
    assert.deepEqual(await holdings(rig.kernel), expected);
    assert.equal(rig.kernel.writes, 1);
    await rig.advance(70_000);
    rig.kernel.links.applyAsOther([{ op: 'deleteLink', name: 'ravel0' }]);
    await rig.advance(900);
    assert.deepEqual(await holdings(rig.kernel), expected);
    assert.ok(rig.loop.status().doubts >= 2);
    await rig.kill();
  });

  test(`${name}: lost events make it read everything again`, async () => {
    const rig = new Rig(mode, undefined, options);
    await rig.publish(whole(small));
    rig.kernel.journal.clear();
    rig.kernel.links.overrun();
    await rig.advance(900);
    assert.ok(rig.kernel.journal.reads > 0);
    assert.equal(rig.kernel.writes, 0);
    await rig.kill();
  });

  test(`${name}: someone who undoes our work for ever is answered ever more slowly`, async () => {
    const rig = new Rig(mode, undefined, options);
    await rig.publish(whole(small));
    rig.kernel.journal.clear();
    for (let round = 0; round < 600; round += 1) {
      const placed = (await rig.kernel.links.addresses()).some(({ address }) => address === '10.50.0.1');
      if (placed) rig.kernel.links.applyAsOther([{ op: 'deleteAddress', interface: 'ravel0', address: '10.50.0.1', prefix: 32 }]);
      await rig.advance(100);
    }
    assert.ok(rig.kernel.writes >= 5 && rig.kernel.writes <= 20, `${rig.kernel.writes} writes in a minute`);
    await rig.kill();
  });

  test(`${name}: what belongs to others is still there after everything`, async () => {
    const kernel = freshKernel();
    const foreign = {
      service: { protocol: 'tcp', address: '10.96.0.1', port: 443 },
      destination: { address: '10.0.0.5', port: 6443 },
    } as const;
    await kernel.ipvs.apply([
      { op: 'addService', service: foreign.service, spec: { scheduler: 'rr', persistenceSeconds: 300 } },
      { op: 'addDestination', ...foreign, spec: { forward: 'masquerade', weight: 1 } },
      { op: 'addService', service: { fwmark: 9, family: 'ipv4' }, spec: { scheduler: 'lc' } },
    ]);
    await kernel.links.apply([
      { op: 'addDummy', name: 'kube-ipvs0', up: true },
      { op: 'addAddress', interface: 'kube-ipvs0', address: '10.96.0.1', prefix: 32 },
      { op: 'addAddress', interface: 'eth0', address: '192.168.1.5', prefix: 24 },
    ]);
    kernel.nftables.commitAsOther([
      { op: 'addTable', table: { family: 'ip', name: 'kube-proxy' } },
      { op: 'addChain', table: { family: 'ip', name: 'kube-proxy' }, chain: { name: 'services' } },
      { op: 'addTable', table: { family: 'inet', name: 'ravel' } },
    ]);
    for (const chain of ['KUBE-SERVICES', 'RAVELIN']) kernel.iptables.ip.append(chain, '-p tcp -m tcp --dport 9 -j RETURN');
    kernel.iptables.ip.append('PREROUTING', '-j KUBE-SERVICES', '-p tcp -j RAVELIN');
    const before = await holdings(kernel);
    const rig = new Rig(mode, kernel, options);
    for (const state of [small, other, cluster({ pods: {}, vips: [] })]) await rig.publish(whole(state));
    await rig.advance(61_000);
    assert.deepEqual(rig.loop.status().failures, []);
    const after = (await holdings(kernel)) as { links: string[]; iptables: unknown; services: unknown; addresses: unknown };
    assert.deepEqual(after.iptables, (before as typeof after).iptables);
    assert.deepEqual(after.services, (before as typeof after).services);
    assert.deepEqual(after.addresses, (before as typeof after).addresses);
    assert.deepEqual(after.links, ['eth0', 'kube-ipvs0', 'lo', 'ravel0']);
    await rig.kill();
  });
}

test('realserver: a rule that someone changed is put right at once, our own transactions are no alarm', async () => {
  const rig = new Rig('realserver');
  await rig.publish(whole(small));
  await rig.publish(whole(other));
  assert.equal(rig.loop.status().doubts, 0, 'own transactions');
  const expected = await holdings(rig.kernel);
  rig.kernel.nftables.commitAsOther([{ op: 'addTable', table: { family: 'ip', name: 'nat' } }]);
  await rig.advance(900);
  assert.equal(rig.loop.status().doubts, 0, 'tables of others');
  rig.kernel.nftables.commitAsOther([{ op: 'flushChain', table: NAT_TABLE, chain: { name: 'prerouting' } }]);
  await rig.advance(900);
  assert.equal(rig.loop.status().doubts, 1);
  rig.kernel.nftables.commitAsOther([{ op: 'deleteTable', table: { family: 'ip', name: 'nat' } }]);
  assert.deepEqual(await holdings(rig.kernel), expected);
  await rig.kill();
});

test('director: a changed IPVS service is put right by the audit', async () => {
  const rig = new Rig('director');
  await rig.publish(whole(small));
  const expected = await holdings(rig.kernel);
  const service = { protocol: 'tcp', address: '10.50.0.1', port: 80 } as const;
  await rig.kernel.ipvs.apply([{ op: 'deleteService', service }]);
  rig.kernel.journal.clear();
  await rig.advance(59_000);
  assert.equal(rig.kernel.writes, 0, 'IPVS tells nobody');
  await rig.advance(2000);
  assert.deepEqual(await holdings(rig.kernel), expected);
  assert.equal(rig.kernel.writes, 3);
  await rig.kill();
});

const many = (count: number): ClusterState =>
  cluster({ pods: { web: ['n1', 'n2'] }, vips: Array.from({ length: count }, (_, index) => [`10.50.1.${index}`, 80, 'web'] as const) });

for (const variant of variants) {
  const { name, mode, options } = variant;
  test(`${name}: a change that would delete most of it is held, the rest goes on, and a return ends it`, async () => {
    const rig = new Rig(mode, undefined, options);
    await rig.publish(whole(many(40)));
    const full = await holdings(rig.kernel);
    rig.kernel.journal.clear();
    const added = cluster({
      pods: { web: ['n1', 'n2'] },
      vips: [
        ['10.50.1.0', 80, 'web'],
        ['10.50.7.7', 80, 'web'],
      ],
    });
    await rig.publish(whole(added));
    assert.match(rig.loop.status().held ?? '', /would remove 39 of 4\d virtual services/);
    assert.equal(rig.lines.filter(({ fields }) => fields['reason'] === 'GuardHeld').length, 1);
    const held = (await holdings(rig.kernel)) as { addresses: string[] };
    assert.equal(held.addresses.length, 41);
    assert.equal([...rig.composition.plane.status().reasons.values()].filter(({ code }) => code === 'GuardHeld').length, 39);
    await rig.advance(130_000);
    assert.equal(((await holdings(rig.kernel)) as typeof held).addresses.length, 41, 'held as long as it takes');
    await rig.publish(whole(many(40)));
    assert.equal(rig.loop.status().held, undefined);
    assert.deepEqual(await holdings(rig.kernel), full);
    await rig.kill();
  });

  test(`${name}: the same change goes through once it is confirmed, and a small one always`, async () => {
    const rig = new Rig(mode, undefined, options);
    await rig.publish(whole(many(40)));
    await rig.publish(whole(many(35)));
    assert.equal(rig.loop.status().held, undefined);
    assert.equal(((await holdings(rig.kernel)) as { addresses: string[] }).addresses.length, 35);
    await rig.kill();
    const guard = { share: 0.5, count: 10, confirmed: true };
    const confirmed = new Rig(mode, rig.kernel, { ...options, guard }, rig.folder);
    await confirmed.publish(whole(many(1)));
    assert.equal(((await holdings(rig.kernel)) as { addresses: string[] }).addresses.length, 1);
    await confirmed.kill();
  });
}

test('realserver: pods that all leave the node are no mass removal', async () => {
  const rig = new Rig('realserver');
  await rig.publish(whole(many(40)));
  const state = many(40);
  const [web] = state.services.values();
  const elsewhere = { ...web!, endpoints: web!.endpoints.map((endpoint) => ({ ...endpoint, node: 'n2' })) };
  await rig.publish(changed({ ...state, services: new Map([['default/web', elsewhere]]) }, 'web'));
  assert.equal(rig.loop.status().held, undefined);
  const left = (await rig.kernel.nftables.elements(NAT_TABLE, 'services')).count;
  assert.equal(left, 0);
  await rig.kill();
});

test('realserver: no VIP is placed while this host could answer ARP for it', async () => {
  const rig = new Rig('realserver');
  rig.kernel.sysctls.readOnly = true;
  await rig.publish(whole(small));
  const placed = ((await holdings(rig.kernel)) as { addresses: string[] }).addresses;
  assert.deepEqual(placed, []);
  const messages = rig.loop.status().failures.map(({ message }) => message);
  assert.ok(
    messages.some((message) => /arp_ignore.*EROFS/.test(message)),
    messages.join('\n'),
  );
  assert.equal(new Set(messages).size, messages.length, 'each once');
  rig.kernel.sysctls.readOnly = false;
  await rig.advance(30_000);
  assert.equal(((await holdings(rig.kernel)) as { addresses: string[] }).addresses.length, 2);
  await rig.kill();
});

test('director: withdrawn before the address goes, announced after the services stand', async () => {
  const rig = new Rig('director');
  await rig.publish(whole(small));
  await rig.advance(0);
  assert.deepEqual(rig.kernel.arp.sent[0]?.addresses, ['10.50.0.1', '10.50.0.2']);
  const empty = cluster({ pods: { web: [], api: ['n1'] }, vips });
  await rig.publish(changed(empty, 'web'));
  assert.equal(rig.composition.plane.status().vips[0]?.announced, false);
  assert.equal(rig.composition.plane.status().vips[0]?.reason?.code, 'NoEndpoints');
  const sent = rig.kernel.arp.sent.length;
  await rig.advance(120_000);
  assert.ok(rig.kernel.arp.sent.slice(sent).every(({ addresses }) => !addresses.includes('10.50.0.1')));
  await rig.kill();
});

test('director: a foreign claim to a VIP is seen, counted and answered', async () => {
  const rig = new Rig('director');
  await rig.publish(whole(small));
  await rig.advance(5000);
  const sent = rig.kernel.arp.sent.length;
  const claim = {
    operation: 'reply',
    senderMac: '02:00:00:00:00:99',
    senderAddress: '10.50.0.1',
    targetMac: '',
    targetAddress: '',
  } as const;
  rig.kernel.arp.receive('eth0', claim);
  rig.kernel.arp.receive('eth0', { ...claim, senderMac: '02:00:00:00:01:01' });
  await rig.advance(3000);
  const [vip] = rig.composition.plane.status().vips;
  assert.equal(vip?.conflicts, 1, 'our own frame is none');
  assert.equal(vip.reason?.code, 'AddressConflict');
  assert.equal(rig.kernel.arp.sent.length - sent, 5);
  await rig.kill();
});

test('director: listening that fails again and again for one cause is one warning', async () => {
  const kernel = freshKernel();
  kernel.faults.failNext({ op: 'arp.watch', code: 'ENODEV', times: Infinity });
  const rig = new Rig('director', kernel);
  await rig.publish(whole(small));
  await rig.advance(60_000);
  const levels = rig.lines.filter(({ message }) => message.includes('listening failed')).map(({ level }) => level);
  assert.deepEqual(levels.slice(0, 3), ['warn', 'debug', 'debug']);
  assert.equal(levels.filter((level) => level === 'warn').length, 1);
  await rig.kill();
});

test('director: a missing interface is named, and announced on as soon as it is there', async () => {
  const rig = new Rig('director', undefined, { interface: 'eth9' });
  rig.kernel.faults.failNext({ op: 'arp.announce', code: 'ENODEV', times: Infinity });
  await rig.publish(whole(small));
  assert.ok(rig.loop.status().failures.some(({ code, message }) => code === 'InterfaceMissing' && message.includes('eth9')));
  assert.equal(rig.composition.plane.status().vips[0]?.reason?.code, 'InterfaceMissing');
  rig.kernel.faults.heal();
  rig.kernel.links.addLink({ name: 'eth9', kind: 'veth', mac: '02:00:00:00:01:09', mtu: 1500, up: true, running: true, noArp: false });
  await rig.advance(12_000);
  assert.deepEqual(rig.loop.status().failures, []);
  assert.equal(rig.composition.plane.status().vips[0]?.announced, true);
  await rig.kill();
});
