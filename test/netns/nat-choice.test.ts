/** One backend after the other on real tables, under connections that begin all the time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DesiredNat, DesiredNatService } from '../../src/desired/types.ts';
import { NatChoice, type NatBackendAsked } from '../../src/drivers/nat-choice.ts';
import { virtualServiceKey } from '../../src/model/keys.ts';
import { unsupported } from './iptables-available.ts';
import { saved } from './iptables-support.ts';
import { CLIENT, NatLab, POD, VIP, VIP6, type Stream } from './nat-lab.ts';
import { nft } from './nftables-support.ts';

const options = { skip: unsupported };

function service(address: string, pods: readonly (keyof typeof POD)[] = ['pod1', 'pod2']): DesiredNatService {
  const family = address.includes(':') ? 1 : 0;
  return {
    ...{ key: virtualServiceKey('tcp', address, 80), address, protocol: 6, port: 80, comment: 'shop/api:http' },
    pods: pods.map((pod) => ({ address: POD[pod][family], port: 8080 })),
  };
}

const desired = (services: readonly DesiredNatService[]): DesiredNat => ({
  services: new Map(services.map((each) => [each.key, each])),
  addresses: [...new Set(services.map(({ address }) => address))],
  masquerade: { enabled: false },
});

const both = desired([service(VIP), service(VIP6)]);

async function become(lab: NatLab, asked: NatBackendAsked, wanted = both): Promise<NatChoice> {
  const nat = new NatChoice(lab, { asked, chainPrefix: 'RAVEL' });
  await nat.observe();
  assert.deepEqual((await nat.apply(await nat.plan(wanted))).failures, []);
  return nat;
}

const rulesOf = (lab: NatLab) => ({
  nftables: nft(lab.node, 'list', 'ruleset').includes('ravel'),
  iptables: saved(lab.node).includes('RAVEL') || saved(lab.node, 'ip6').includes('RAVEL'),
});

for (const vips of [[VIP], [VIP, VIP6]]) {
  test(`from nftables to iptables and back under traffic to ${vips.join(' and ')}: no connection is lost`, options, async () => {
    await using lab = await NatLab.create();
    const wanted = desired(vips.map((vip) => service(vip)));
    await become(lab, 'nftables', wanted);
    const streams: Stream[] = [];
    for (const vip of vips) streams.push(await lab.stream(vip, 4));
    for (const asked of ['iptables', 'nftables', 'iptables', 'auto'] as const) {
      for (const stream of streams) await stream.more(60);
      const nat = await become(lab, asked, wanted);
      const kind = asked === 'auto' ? 'nftables' : asked;
      assert.equal(nat.kind, kind);
      assert.deepEqual(rulesOf(lab), { nftables: kind === 'nftables', iptables: kind === 'iptables' });
      nat.forget();
      assert.ok((await nat.plan(wanted)).empty, 'a second look finds nothing to do');
    }
    for (const stream of streams) {
      await stream.more(60);
      const { started, names, failures, lasting } = await stream.end();
      assert.deepEqual(failures, []);
      assert.ok(lasting, 'the connection of before the first change still carries data');
      assert.ok(started >= 300);
      assert.deepEqual(Object.keys(names).sort(), ['pod1', 'pod2']);
      assert.equal((names['pod1'] ?? 0) + (names['pod2'] ?? 0), started);
    }
  });
}

test('the stream does notice a moment without rules', options, async () => {
  await using lab = await NatLab.create();
  const nat = await become(lab, 'iptables');
  const stream = await lab.stream(VIP, 4);
  await nat.apply(await nat.removal());
  await stream.more(20);
  await become(lab, 'iptables');
  const { failures } = await stream.end();
  assert.ok(failures.length > 0);
});

test('the iptables backend: balanced, the client’s address kept, clients on the node and in its pods, IPv4 and IPv6', options, async () => {
  await using lab = await NatLab.create();
  await become(lab, 'iptables');
  for (const [family, vip] of [VIP, VIP6].entries()) {
    const answers = await lab.ask(lab.client, vip, 200);
    const first = answers.filter(({ name }) => name === 'pod1').length;
    assert.deepEqual([...new Set(answers.map(({ from }) => from))], [CLIENT[family]], vip);
    // 200 throws of a coin: outside of 60 to 140 once in ten million runs.
    assert.ok(first > 60 && first < 140, `${vip}: ${first} of 200`);
    const local = await lab.ask(lab.node, vip, 20);
    assert.deepEqual(new Set(local.map(({ name, error }) => name ?? error)), new Set(['pod1', 'pod2']), `the node itself, ${vip}`);
    const own = await lab.ask(lab.pods.pod1, vip, 40);
    assert.deepEqual(new Set(own.map(({ name, error }) => name ?? error)), new Set(['pod1', 'pod2']), `a pod of the service, ${vip}`);
    assert.deepEqual(
      new Set(own.filter(({ name }) => name === 'pod2').map(({ from }) => from)),
      new Set([POD.pod1[family]]),
      'another pod sees who asks',
    );
  }
});

test('a virtual service shared with IPVS leaves the others their part, untranslated and unmarked', options, async () => {
  await using lab = await NatLab.create();
  const shared = { ...service(VIP, ['pod1']), slots: 2 };
  await become(lab, 'iptables', { ...desired([shared]), masquerade: { enabled: true } });
  // Nobody listens on the node: what is left to IPVS is refused there.
  const answers = await lab.ask(lab.client, VIP, 200);
  const taken = answers.filter(({ name }) => name === 'pod1').length;
  assert.ok(taken > 60 && taken < 140, `${taken} of 200`);
  assert.deepEqual(new Set(answers.flatMap(({ from }) => from ?? [])), new Set([POD.pod1[0].replace(/2$/, '1')]), 'masqueraded');
  assert.match(saved(lab.node), /-A RAVEL -d 192\.0\.2\.10\/32 [^\n]*--probability 0\.50000000000 -j RAVEL-SVC-/);
  assert.match(saved(lab.node), /-A RAVEL-SVC-\S+ -j RAVEL-MASQ\n/);
  assert.doesNotMatch(saved(lab.node), /-A RAVEL -d \S+ [^\n]*-j RAVEL-MASQ/);
});
