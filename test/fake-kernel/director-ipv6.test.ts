/** IPv6 VIPs of a director: where they are, who answers for them, and in what order that comes and goes. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Endpoint, Node } from '../../src/model/cluster.ts';
import { whole } from './cluster.ts';
import { apiAt, destinationsOf, servicesOf, stateOf } from './fixture.ts';
import type { FakeKernel } from './kernel.ts';
import { freshKernel, holdings, Rig } from './rig.ts';

const vip = '2001:db8::10';
const vip4 = '192.0.2.10';
const key = `tcp [${vip}]:80`;

const node = (name: string, ...addresses: string[]): Node => ({
  name,
  addresses,
  labels: { pool: 'lb' },
  ready: true,
  unschedulable: false,
});
const nodes = [node('n1', '10.20.0.11', '2001:db8:20::11'), node('n2', '10.20.0.12')];
const pod = (address: string, onNode: string): Endpoint => ({
  ...{ address, port: 8080, portName: 'http', node: onNode, ready: true, terminating: false },
});
const pods = [pod('2001:db8:44::1', 'n1'), pod('2001:db8:44::2', 'n1'), pod('10.50.1.2', 'n1')];

/** Both families behind one Service. */
function stateAt(api: readonly Endpoint[] = pods, machines: readonly Node[] = nodes) {
  const { virtualServices, addresses, ...rest } = stateOf({ [vip4]: { '80': apiAt() } }, { api, nodes: machines });
  const first = [...virtualServices.values()][0]!;
  const sixth = { ...first, key, address: vip };
  const all = [first, sixth];
  return {
    ...{ ...rest, addresses: [...addresses, vip] },
    virtualServices: new Map(all.map((service) => [service.key, service])),
    virtualServicesOf: new Map([[first.service, all]]),
  };
}
const changed = (api: readonly Endpoint[]) => ({
  ...whole(stateAt(api)),
  change: { all: false, virtualServices: new Set([key, `tcp ${vip4}:80`]) } as const,
});

async function placed(kernel: FakeKernel): Promise<string[]> {
  return ((await holdings(kernel)) as { addresses: string[] }).addresses.filter((text) => text.includes(':')).sort();
}
const both = [`eth0 ${vip}/128 proto 82`, `ravel0 ${vip}/128 proto 82`];
const silent = [`ravel0 ${vip}/128 proto 82`];
const status = (rig: Rig) => rig.composition.plane.status().vips.find(({ address }) => address === vip);
const ops = (rig: Rig): string[] => rig.kernel.journal.calls.map(({ op, subject }) => `${op} ${subject}`);

suite('an IPv6 VIP', () => {
  test('is balanced over nodes by their IPv6 address, beside an IPv4 VIP of the same Service', async () => {
    const rig = new Rig('director');
    await rig.publish(whole(stateAt()));
    const services = await servicesOf(rig.kernel);
    assert.deepEqual(destinationsOf(services.get(`tcp ${vip}:80`)), ['[2001:db8:20::11]:80 DR w2 x0 y0']);
    assert.deepEqual(destinationsOf(services.get(`tcp ${vip4}:80`)), ['10.20.0.11:80 DR w1 x0 y0']);
    await rig.kill();
  });

  test('on a node without an address of its family has none, and says so', async () => {
    const rig = new Rig('director');
    await rig.publish(whole(stateAt([pod('2001:db8:44::1', 'n2'), pod('10.50.1.2', 'n1')])));
    assert.equal(rig.composition.plane.status().reasons.get(key)?.code, 'NodeHasNoAddress');
    assert.deepEqual([status(rig)?.announced, await placed(rig.kernel)], [false, silent]);
    await rig.kill();
  });

  test('is on the VIP device, and once it has a backend on the announcing interface, never as a source', async () => {
    const rig = new Rig('director');
    await rig.publish(whole(stateAt()));
    assert.deepEqual(await placed(rig.kernel), both);
    const held = await rig.kernel.links.addresses();
    const answered = held.filter(({ address }) => address === vip);
    assert.ok(answered.some(({ preferredSeconds }) => preferredSeconds === 0));
    await rig.advance(0);
    assert.deepEqual(
      rig.kernel.ndp.sent.map(({ interface: name, addresses }) => [name, addresses]),
      [['eth0', [vip]]],
    );
    assert.equal(status(rig)?.announced, true);
    rig.kernel.journal.clear();
    await rig.advance(61_000);
    assert.equal(rig.kernel.writes, 0);
    assert.equal(rig.loop.status().doubts, 0, 'our own addresses are no alarm');
    await rig.kill();
  });

  test('comes after its IPVS service, and goes before its last weight', async () => {
    const rig = new Rig('director');
    await rig.publish(whole(stateAt()));
    const up = ops(rig);
    const answer = (list: readonly string[]): number =>
      list.findIndex((text) => /Address/.test(text) && text.includes('eth0') && text.includes(vip));
    assert.ok(answer(up) > up.findIndex((text) => text.includes('addDestination') && text.includes(vip)), up.join('\n'));
    rig.kernel.journal.clear();
    await rig.publish(changed([pod('10.50.1.2', 'n1')]));
    const down = ops(rig);
    assert.ok(answer(down) >= 0 && answer(down) < down.findIndex((text) => text.includes('ipvs.')), down.join('\n'));
    assert.deepEqual(await placed(rig.kernel), silent);
    assert.equal(status(rig)?.announced, false);
    const sent = rig.kernel.ndp.sent.length;
    await rig.advance(130_000);
    assert.equal(rig.kernel.ndp.sent.length, sent);
    await rig.publish(changed(pods));
    assert.deepEqual(await placed(rig.kernel), both);
    await rig.kill();
  });

  test('that an earlier process answered for goes when nobody is behind it any more; one that has a backend stays untouched', async () => {
    const rig = new Rig('director');
    await rig.publish(whole(stateAt()));
    await rig.kill();
    rig.kernel.journal.clear();
    const again = new Rig('director', rig.kernel, {}, rig.folder);
    await again.publish(whole(stateAt()));
    assert.equal(rig.kernel.writes, 0);
    await again.kill();
    const bare = new Rig('director', rig.kernel, { drainMilliseconds: 0 }, rig.folder);
    await bare.publish(whole(stateAt([])));
    assert.deepEqual(await placed(rig.kernel), silent);
    await bare.kill();
  });

  test('taken off the interface by somebody is put back at once', async () => {
    const rig = new Rig('director');
    await rig.publish(whole(stateAt()));
    rig.kernel.journal.clear();
    rig.kernel.links.applyAsOther([{ op: 'deleteAddress', interface: 'eth0', address: vip, prefix: 128 }]);
    await rig.advance(900);
    assert.deepEqual(await placed(rig.kernel), both);
    assert.equal(rig.kernel.writes, 1);
    await rig.kill();
  });

  test('put on the interface by somebody while it is not announced is taken off', async () => {
    const rig = new Rig('director');
    await rig.publish(whole(stateAt([])));
    rig.kernel.links.applyAsOther([
      { op: 'addAddress', interface: 'eth0', address: vip, prefix: 128, protocol: 82, noDad: true, preferredSeconds: 0 },
    ]);
    await rig.advance(900);
    assert.deepEqual(await placed(rig.kernel), silent);
    await rig.kill();
  });

  test('that the interface does not take is not announced, and is tried again', async () => {
    const kernel = freshKernel();
    kernel.faults.failNext({ op: 'links.addAddress', code: 'ENOBUFS', subject: 'eth0' });
    const rig = new Rig('director', kernel);
    await rig.publish(whole(stateAt()));
    assert.equal(status(rig)?.announced, false);
    assert.equal(kernel.ndp.sent.length, 0);
    await rig.advance(5000);
    assert.equal(status(rig)?.announced, true);
    assert.deepEqual(await placed(kernel), both);
    await rig.kill();
  });

  test('claimed by somebody else is a conflict, seen, counted and answered; a solicitation is none', async () => {
    const rig = new Rig('director');
    await rig.publish(whole(stateAt()));
    await rig.advance(5000);
    const sent = rig.kernel.ndp.sent.length;
    const packet = {
      ...({ kind: 'advertisement', senderMac: '02:00:00:00:00:99', senderAddress: 'fe80::99', targetAddress: vip } as const),
      ...{ linkLayerAddress: '02:00:00:00:00:99', router: false, solicited: false, override: true },
    };
    rig.kernel.ndp.receive('eth0', { ...packet, kind: 'solicitation', senderAddress: '::' });
    rig.kernel.ndp.receive('eth0', { ...packet, linkLayerAddress: '02:00:00:00:01:01', senderMac: '02:00:00:00:01:01' });
    await rig.advance(3000);
    assert.equal(status(rig)?.conflicts, 0);
    rig.kernel.ndp.receive('eth0', packet);
    await rig.advance(3000);
    assert.deepEqual([status(rig)?.conflicts, status(rig)?.reason?.code], [1, 'AddressConflict']);
    assert.ok(rig.kernel.ndp.sent.length > sent);
    await rig.kill();
  });
});
