/** What a realserver does beyond IPv4 and its own pods, on the fake kernel. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { desiredRealserver } from '../../src/desired/realserver.ts';
import type { ClusterState, Endpoint, VirtualService } from '../../src/model/cluster.ts';
import { virtualServiceKey } from '../../src/model/keys.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { changed, cluster, whole } from './cluster.ts';
import { freshKernel, holdings, Rig } from './rig.ts';

const vips = [['10.50.0.1', 80, 'web']] as const;
const here = cluster({ pods: { web: ['n1', 'n2'] }, vips });
const elsewhere = cluster({ pods: { web: ['n2'] }, vips });
const key = virtualServiceKey('tcp', '10.50.0.1', 80);

/** The virtual services of the state, each changed. */
function having(state: ClusterState, change: Partial<VirtualService>): ClusterState {
  const virtualServices = new Map([...state.virtualServices].map(([name, service]) => [name, { ...service, ...change }]));
  const virtualServicesOf = new Map(
    [...state.virtualServicesOf].map(([name, services]) => [name, services.map((service) => ({ ...service, ...change }))]),
  );
  return { ...state, virtualServices, virtualServicesOf };
}

function endpoints(state: ClusterState, edit: (endpoint: Endpoint, index: number) => Endpoint): ClusterState {
  const services = new Map(
    [...state.services].map(([name, service]) => [name, { ...service, endpoints: service.endpoints.map(edit) }] as const),
  );
  return { ...state, services };
}

/** The same cluster on IPv6. */
function six(state: ClusterState): ClusterState {
  const address = '2001:db8::1';
  const services = [...state.virtualServices.values()].map((service) => ({
    ...service,
    address,
    key: virtualServiceKey('tcp', address, 80),
  }));
  return {
    ...endpoints(state, (endpoint, index) => ({ ...endpoint, address: `fd00::${index + 2}` })),
    ...{ addresses: [address], virtualServices: new Map(services.map((service) => [service.key, service])) },
    virtualServicesOf: new Map([['default/web', services]]),
  };
}

suite('clients inside the cluster', () => {
  const inside = { insideAccess: 'cluster' } as const;

  test('a node with a pod leads to its own; one without leads to those elsewhere, for its own clients alone', () => {
    const on = (node: string, options = {}) => desiredRealserver(elsewhere, node, options);
    const local = on('n2', inside);
    assert.deepEqual([[...local.services.keys()], [...(local.inside?.keys() ?? [])]], [[key], []]);
    const none = on('n1', inside);
    assert.equal(none.services.size, 0);
    assert.deepEqual(none.inside?.get(key)?.pods, [{ address: '10.244.2.1', port: 8080 }]);
    assert.equal(none.reasons.get(key)?.code, 'NoLocalEndpoints', 'to a director it is as before');
    assert.equal(on('n1').inside, undefined, 'refused where nobody asked for it');
  });

  test('pods that are terminating come last there, too', () => {
    const leaving = (which: readonly number[], state: ClusterState) =>
      endpoints(state, (endpoint, index) => (which.includes(index) ? { ...endpoint, ready: false, terminating: true } : endpoint));
    const two = cluster({ pods: { web: ['n2', 'n2'] }, vips });
    const pods = (state: ClusterState) => desiredRealserver(state, 'n1', inside).inside?.get(key)?.pods.length;
    assert.deepEqual([pods(two), pods(leaving([0], two)), pods(leaving([0, 1], two))], [2, 1, 2]);
    const notReady = endpoints(two, (endpoint) => ({ ...endpoint, ready: false }));
    assert.equal(pods(notReady), undefined, 'nobody serves');
  });

  test('a pod that comes or goes elsewhere is one change of that virtual service', async () => {
    const rig = new Rig('realserver', undefined, { insideAccess: 'cluster' });
    await rig.publish(whole(elsewhere));
    rig.kernel.journal.clear();
    await rig.publish(changed(cluster({ pods: { web: ['n2', 'n2'] }, vips }), 'web'));
    assert.equal(rig.kernel.journal.reads, 0);
    assert.ok(rig.kernel.writes > 0 && rig.kernel.writes < 10, String(rig.kernel.writes));
    await rig.kill();
  });
});

suite('masquerading to pods is no business of a realserver', () => {
  const masqueraded = having(here, { forward: 'masquerade' });

  test('no rules, no reason, and no VIP that has nothing else', () => {
    const { services, reasons, addresses } = desiredRealserver(masqueraded, 'n1');
    assert.deepEqual([services.size, reasons.size, addresses], [0, 0, []]);
    const mixed = cluster({ pods: { web: ['n1'], api: ['n1'] }, vips: [...vips, ['10.50.0.1', 81, 'api']] });
    const one = mixed.virtualServices.get(key)!;
    const half = { ...mixed, virtualServices: new Map([...mixed.virtualServices, [key, { ...one, forward: 'masquerade' as const }]]) };
    assert.deepEqual(desiredRealserver(half, 'n1').addresses, ['10.50.0.1']);
    assert.deepEqual(
      desiredRealserver({ ...here, virtualServices: new Map() }, 'n1').addresses,
      ['10.50.0.1'],
      'nothing at all is as before',
    );
  });

  test('a running one gives up the VIP when its only virtual service turns to masquerading, and takes it again', async () => {
    const rig = new Rig('realserver', undefined, { handoverMilliseconds: 5000 });
    const placed = async () => ((await holdings(rig.kernel)) as { addresses: string[] }).addresses.length;
    await rig.publish(whole(here));
    assert.equal(await placed(), 1);
    await rig.publish(changed(masqueraded, 'web'));
    assert.equal(await placed(), 0);
    assert.equal(rig.loop.status().held, undefined);
    await rig.publish(changed(here, 'web'));
    assert.equal(await placed(), 1);
    const fresh = new Rig('realserver');
    await fresh.publish(whole(here));
    assert.deepEqual(await holdings(rig.kernel), await holdings(fresh.kernel));
    await Promise.all([rig.kill(), fresh.kill()]);
  });
});

for (const natBackend of ['nftables', 'iptables'] as const) {
  test(`${natBackend}: an IPv6 VIP is held and translated, needs no ARP setting, and a restart writes nothing`, async () => {
    const first = new Rig('realserver', undefined, { natBackend });
    first.kernel.sysctls.readOnly = true;
    await first.publish(whole(six(here)));
    const { addresses } = (await holdings(first.kernel)) as { addresses: string[] };
    assert.deepEqual(addresses, ['ravel0 2001:db8::1/128 proto 82']);
    assert.equal(first.composition.serves([virtualServiceKey('tcp', '2001:db8::1', 80)]), true);
    assert.deepEqual([...first.composition.plane.status().reasons], []);
    await first.kill();
    first.kernel.sysctls.readOnly = false;
    const second = new Rig('realserver', first.kernel, { natBackend }, first.folder);
    await second.publish(whole(six(here)));
    first.kernel.journal.clear();
    await second.advance(61_000);
    assert.equal(first.kernel.writes, 0);
    assert.deepEqual(second.loop.status().failures, []);
    await second.kill();
  });
}

test('iptables: IPv6 rules that are refused keep the IPv6 VIP away, and nothing else', async () => {
  const both = six(here);
  const dual: ClusterState = {
    ...both,
    services: new Map([
      [
        'default/web',
        {
          ...both.services.get('default/web')!,
          endpoints: [...both.services.get('default/web')!.endpoints, ...here.services.get('default/web')!.endpoints],
        },
      ],
    ]),
    addresses: ['10.50.0.1', '2001:db8::1'],
    virtualServices: new Map([...here.virtualServices, ...both.virtualServices]),
  };
  const rig = new Rig('realserver', undefined, { natBackend: 'iptables' });
  rig.kernel.faults.failNext({ op: 'iptables.commit', code: 'EPERM', subject: 'ip6', times: Infinity });
  await rig.publish(whole(dual));
  const placed = async () => ((await holdings(rig.kernel)) as { addresses: string[] }).addresses;
  assert.ok(rig.loop.status().failures.some(({ family, code }) => family === 6 && code === 'EPERM'));
  assert.deepEqual(await placed(), ['ravel0 10.50.0.1/32 proto 82']);
  rig.kernel.faults.heal();
  await rig.advance(40_000);
  assert.deepEqual(rig.loop.status().failures, []);
  assert.deepEqual(await placed(), ['ravel0 10.50.0.1/32 proto 82', 'ravel0 2001:db8::1/128 proto 82']);
  await rig.kill();
});

suite('tunnels and sizes', () => {
  const tunnelled = having(here, { forward: 'tunnel' });

  test('the device is made, takes packets whatever their way back, and is put back when nobody needs it', async () => {
    const rig = new Rig('realserver');
    rig.kernel.sysctls.values.set('net/ipv4/conf/default/rp_filter', '1');
    await rig.publish(whole(tunnelled));
    assert.deepEqual(rig.loop.status().failures, []);
    const tunnel = (await rig.kernel.links.links()).find(({ name }) => name === 'tunl0');
    assert.deepEqual([tunnel?.kind, tunnel?.up], ['ipip', true]);
    assert.equal(rig.kernel.sysctls.values.get('net/ipv4/conf/tunl0/rp_filter'), '0');
    rig.kernel.journal.clear();
    await rig.advance(61_000);
    assert.equal(rig.kernel.writes, 0);
    await rig.publish(changed(here, 'web'));
    const left = (await rig.kernel.links.links()).find(({ name }) => name === 'tunl0');
    assert.notEqual(left?.up, true);
    await rig.kill();
  });

  test('the device of the VIPs is as large as the largest VIP asks for', async () => {
    const rig = new Rig('realserver');
    await rig.publish(whole({ ...here, mtu: new Map([['10.50.0.1', 9000]]) }));
    const device = async () => (await rig.kernel.links.links()).find(({ name }) => name === 'ravel0');
    assert.equal((await device())?.mtu, 9000);
    await rig.publish(whole(here));
    assert.equal((await device())?.mtu, 9000, 'nothing asked for: left alone');
    await rig.kill();
  });

  test('the iptables backend says once what it does not make smaller; nftables has nothing to say', async () => {
    for (const natBackend of ['iptables', 'nftables'] as const) {
      const rig = new Rig('realserver', undefined, { natBackend });
      await rig.publish(whole(tunnelled));
      const warnings = rig.composition.plane.status().warnings.filter((text) => text.includes('TCP segments'));
      assert.equal(warnings.length, natBackend === 'iptables' ? 1 : 0);
      await rig.kill();
    }
  });

  test('a record of changes that cannot be read is a failure, and keeps rules from nothing', async () => {
    for (const state of [here, tunnelled]) {
      const folder = temporaryDirectory('damaged');
      writeFileSync(join(folder, 'sysctls-1.json'), 'no journal');
      const rig = new Rig('realserver', undefined, {}, folder);
      await rig.publish(whole(state));
      const failures = rig.loop.status().failures.map(({ op }) => op);
      for (const op of ['sysctl.journal', 'tunnels.journal']) assert.ok(failures.includes(op), failures.join());
      assert.match(JSON.stringify(rig.kernel.nftables.dump()), /10\.50\.0\.1/, 'the rules are there');
      await rig.kill();
    }
  });
});

suite('a change of the backend', () => {
  for (const [from, to] of [
    ['nftables', 'iptables'],
    ['iptables', 'nftables'],
  ] as const) {
    test(`from ${from} to ${to}: one pass, the same as if it had always been so, and then nothing more`, async () => {
      const first = new Rig('realserver', undefined, { natBackend: from });
      await first.publish(whole(here));
      await first.kill();
      const second = new Rig('realserver', first.kernel, { natBackend: to }, first.folder);
      await second.publish(whole(here));
      assert.deepEqual(second.loop.status().failures, []);
      assert.equal(second.composition.plane.status().nat?.kind, to);
      const fresh = new Rig('realserver', undefined, { natBackend: to });
      await fresh.publish(whole(here));
      const rules = async (rig: Rig) => {
        const { nftables, iptables } = (await holdings(rig.kernel)) as { nftables: unknown; iptables: { ip: Record<string, string[]> } };
        const chains = Object.entries(iptables.ip).filter(([name, texts]) => name.startsWith('RAVEL') || texts.length > 0);
        return { nftables, iptables: chains };
      };
      assert.deepEqual(await rules(second), await rules(fresh));
      first.kernel.journal.clear();
      await second.advance(130_000);
      assert.equal(first.kernel.writes, 0);
      await Promise.all([second.kill(), fresh.kill()]);
    });

    test(`from ${from} to ${to}: a mass removal on the way is held`, async () => {
      const many = (count: number) =>
        cluster({ pods: { web: ['n1'] }, vips: Array.from({ length: count }, (_, index) => [`10.50.1.${index}`, 80, 'web'] as const) });
      const first = new Rig('realserver', undefined, { natBackend: from });
      await first.publish(whole(many(40)));
      await first.kill();
      const second = new Rig('realserver', first.kernel, { natBackend: to }, first.folder);
      await second.publish(whole(many(2)));
      assert.match(second.loop.status().held ?? '', /would remove 38 of 40 virtual services/);
      assert.equal(((await holdings(second.kernel)) as { addresses: string[] }).addresses.length, 40);
      await second.publish(whole(many(40)));
      assert.equal(second.loop.status().held, undefined);
      await second.kill();
    });
  }
});

test('auto without nftables: iptables, told in the status; nothing listens for events that cannot come', async () => {
  const kernel = freshKernel();
  kernel.withoutModule('nftables');
  const rig = new Rig('realserver', kernel, { natBackend: 'auto' });
  await rig.publish(whole(here));
  assert.deepEqual(rig.loop.status().failures, []);
  const { nat } = rig.composition.plane.status();
  assert.equal(nat?.kind, 'iptables');
  assert.match(nat.reason, /^no nftables here/);
  await rig.advance(600_000);
  assert.deepEqual(
    rig.lines.filter(({ message }) => message.includes('listening failed')),
    [],
  );
  await rig.kill();
});

test('settings of IPVS in the same record are those of a director: a realserver leaves them, and puts its own back', async () => {
  const kernel = freshKernel();
  kernel.sysctls.values.set('net/ipv4/vs/conntrack', '1');
  kernel.sysctls.values.set('net/ipv4/conf/eth9/rp_filter', '2');
  const folder = temporaryDirectory('fake');
  const before = { before: '0', after: '1' };
  const entries = { 'net/ipv4/vs/conntrack': before, 'net/ipv4/conf/eth9/rp_filter': { before: '1', after: '2' } };
  writeFileSync(join(folder, 'sysctls-1.json'), JSON.stringify({ boot: 'boot', entries }));
  const rig = new Rig('realserver', kernel, {}, folder);
  await rig.publish(whole(here));
  assert.equal(kernel.sysctls.values.get('net/ipv4/vs/conntrack'), '1');
  assert.equal(kernel.sysctls.values.get('net/ipv4/conf/eth9/rp_filter'), '1');
  await rig.kill();
});
