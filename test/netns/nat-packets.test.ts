/** The backend's own tables under real packets, in both families: a client, a node with two pods, and a pod elsewhere. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { DesiredNat, DesiredNatService } from '../../src/desired/types.ts';
import { natKey } from '../../src/diff/nat-state.ts';
import { NatDriver } from '../../src/drivers/nat.ts';
import { Netns } from '../../src/native/netns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import { ask as askFrom, Servers, type Answer, type Protocol } from './nftables-ends.ts';
import { inside, nft, nftScript, TCP, UDP } from './nftables-support.ts';

const FAMILIES = [4, 6] as const;

const VIP = { 4: '192.0.2.10', 6: '2001:db8::10' } as const;
/** A VIP without segments of its own. */
const OTHER = { 4: '192.0.2.11', 6: '2001:db8::11' } as const;

const NAMES = ['client', 'pod1', 'pod2', 'elsewhere'] as const;
type Name = (typeof NAMES)[number];

/** Number of a wire; the node is .1 on each, the namespace .2. */
const wireOf = (name: Name): number => NAMES.indexOf(name) + 1;
const near = (name: Name) => ({ 4: `10.1.${wireOf(name)}.1`, 6: `fd00:1:${wireOf(name)}::1` });
const at = (name: Name) => ({ 4: `10.1.${wireOf(name)}.2`, 6: `fd00:1:${wireOf(name)}::2` });

/** The tables of the last test, as nft prints them. */
const RULESET = 'test/netns/nat-ruleset.nft';

let node: Netns;
const spaces = new Map<Name, Netns>();
let nftables: Nftables;
const servers = new Servers();

const space = (name: Name | 'node'): Netns => (name === 'node' ? node : spaces.get(name)!);

function connectWire(name: Name): void {
  const to = space(name);
  inside(node, ['ip', 'link', 'add', `to-${name}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', to.path]);
  for (const [netns, device, address] of [[node, `to-${name}`, near(name)] as const, [to, 'eth0', at(name)] as const]) {
    inside(netns, ['ip', 'link', 'set', device, 'up']);
    inside(netns, ['ip', 'address', 'add', `${address[4]}/24`, 'dev', device]);
    inside(netns, ['ip', 'address', 'add', `${address[6]}/64`, 'dev', device, 'nodad']);
  }
  inside(to, ['ip', 'route', 'add', 'default', 'via', near(name)[4]]);
  inside(to, ['ip', '-6', 'route', 'add', 'default', 'via', near(name)[6]]);
}

const ask = (from: Name | 'node', vip: string, port: number, count = 1, protocol: Protocol = 'tcp'): Promise<Answer[]> =>
  askFrom(space(from), protocol, vip, port, count);

function service(address: string, port: number, pods: readonly string[], rest: Partial<DesiredNatService> = {}): DesiredNatService {
  const id = { address, protocol: TCP, port, ...rest };
  return { ...id, key: natKey(id), comment: 'shop/api:http', pods: pods.map((pod) => ({ address: pod, port: 8080 })) };
}

const mapOf = (services: readonly DesiredNatService[]) => new Map(services.map((each) => [each.key, each]));

const base: DesiredNat = {
  services: new Map(),
  addresses: [VIP[4], VIP[6], OTHER[4], OTHER[6]],
  masquerade: { enabled: false },
  outside: ['to-client'],
};

async function program(wanted: Partial<DesiredNat>): Promise<NatDriver> {
  await (async (driver) => driver.apply(await driver.removal()))(new NatDriver(nftables));
  const driver = new NatDriver(nftables);
  const outcome = await driver.apply(await driver.plan({ ...base, ...wanted }));
  assert.deepEqual(outcome.failures, []);
  // What the kernel lists is what was meant: nothing is left to do for somebody who has just come.
  assert.equal((await new NatDriver(nftables).plan({ ...base, ...wanted })).empty, true);
  return driver;
}

before(async () => {
  node = await Netns.create();
  for (const name of NAMES) spaces.set(name, await Netns.create());
  inside(node, ['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding']);
  inside(node, ['ip', 'link', 'set', 'lo', 'up']);
  // On lo, because not every kernel for tests has the device for dummies.
  for (const vip of [VIP, OTHER]) {
    inside(node, ['ip', 'address', 'add', `${vip[4]}/32`, 'dev', 'lo']);
    inside(node, ['ip', 'address', 'add', `${vip[6]}/128`, 'dev', 'lo', 'nodad']);
  }
  for (const name of NAMES) connectWire(name);
  nftables = await Nftables.open({ netns: node });
  for (const name of ['pod1', 'pod2', 'elsewhere'] as const) {
    await servers.start(space(name), 'tcp', '::', 8080, name);
    await servers.start(space(name), 'udp', '::', 8080, name);
  }
  // Stands for IPVS: it gets what the rules leave alone.
  await servers.start(space('node'), 'tcp', '::', 90, 'node');
});

after(async () => {
  await servers.stop();
  await nftables.close();
  await Promise.all([node, ...spaces.values()].map((netns) => netns.close()));
});

for (const family of FAMILIES) {
  const vip = VIP[family];
  const pods = [at('pod1')[family], at('pod2')[family]];

  test(`IPv${family}: connections and datagrams reach both pods, keep the client's address and are counted`, async () => {
    const nat = await program({ services: mapOf([service(vip, 80, pods), service(vip, 80, pods, { protocol: UDP })]) });
    for (const protocol of ['tcp', 'udp'] as const) {
      const answers = await ask('client', vip, 80, 100, protocol);
      const counts = ['pod1', 'pod2'].map((name) => answers.filter((answer) => answer.name === name).length);
      assert.equal(counts[0]! + counts[1]!, 100, JSON.stringify(answers.find(({ error }) => error !== undefined)));
      // Mean 50, standard deviation 5.
      assert.ok(Math.min(...counts) > 20, counts.join());
      assert.deepEqual([...new Set(answers.map(({ from }) => from))], [at('client')[family]]);
      assert.equal((await nat.connections()).get(natKey({ address: vip, protocol: protocol === 'tcp' ? TCP : UDP, port: 80 })), 100);
    }
  });

  test(`IPv${family}: a process of the node reaches its pods, and appears as the node`, async () => {
    await program({ services: mapOf([service(vip, 80, [at('pod1')[family]])]) });
    assert.deepEqual(await ask('node', vip, 80, 2), Array(2).fill({ name: 'pod1', from: near('pod1')[family] }));
  });

  test(`IPv${family}: a pod that meets itself appears as the node, others as themselves`, async () => {
    await program({ services: mapOf([service(vip, 80, [at('pod1')[family]])]) });
    assert.deepEqual(await ask('pod1', vip, 80), [{ name: 'pod1', from: near('pod1')[family] }]);
    assert.deepEqual(await ask('pod2', vip, 80), [{ name: 'pod1', from: at('pod2')[family] }]);
  });

  test(`IPv${family}: without a pod here, clients inside are sent elsewhere, and those outside are refused`, async () => {
    const wanted = mapOf([service(vip, 81, [at('elsewhere')[family]])]);
    await program({ inside: wanted });
    assert.deepEqual(await ask('pod1', vip, 81), [{ name: 'elsewhere', from: at('pod1')[family] }]);
    assert.deepEqual(await ask('node', vip, 81), [{ name: 'elsewhere', from: near('elsewhere')[family] }]);
    assert.match((await ask('client', vip, 81))[0]?.error ?? '', /ECONNREFUSED/);
    // The interface decides, nothing else.
    await program({ inside: wanted, outside: [] });
    assert.deepEqual(await ask('client', vip, 81), [{ name: 'elsewhere', from: at('client')[family] }]);
    await program({});
    for (const from of ['pod1', 'node'] as const) assert.match((await ask(from, vip, 81))[0]?.error ?? '', /ECONNREFUSED/);
  });

  test(`IPv${family}: the masquerade policy hides clients, but not the excepted ones`, async () => {
    const services = mapOf([service(vip, 80, [at('pod1')[family]])]);
    const exceptSource = family === 4 ? { address: '10.1.3.9', prefix: 24 } : { address: 'fd00:1:3::9', prefix: 64 };
    await program({ services, masquerade: { enabled: true, exceptSource } });
    assert.deepEqual(await ask('client', vip, 80), [{ name: 'pod1', from: near('pod1')[family] }]);
    assert.deepEqual(await ask('pod2', vip, 80), [{ name: 'pod1', from: at('pod2')[family] }]);
  });

  test(`IPv${family}: clients of a masqueraded virtual service appear as the node, those of another port do not`, async () => {
    const pod = [at('pod1')[family]];
    const services = mapOf([service(vip, 85, pod), service(vip, 86, pod), service(vip, 85, pod, { protocol: UDP })]);
    const id = { address: vip, protocol: TCP, port: 85 };
    await program({ services, masqueraded: new Map([[natKey(id), id]]) });
    assert.deepEqual(await ask('client', vip, 85), [{ name: 'pod1', from: near('pod1')[family] }]);
    assert.deepEqual(await ask('client', vip, 86), [{ name: 'pod1', from: at('client')[family] }]);
    assert.deepEqual(await ask('client', vip, 85, 1, 'udp'), [{ name: 'pod1', from: at('client')[family] }]);
  });

  test(`IPv${family}: of eight shares two are served here, and six go on`, async () => {
    const connections = 2000;
    await program({ services: mapOf([service(vip, 90, pods, { slots: 8 })]) });
    const answers = await ask('client', vip, 90, connections);
    const expected = new Map([
      ['pod1', connections / 8],
      ['pod2', connections / 8],
      ['node', (connections * 6) / 8],
    ]);
    let chi = 0;
    let seen = 0;
    for (const [name, mean] of expected) {
      const count = answers.filter((answer) => answer.name === name).length;
      seen += count;
      chi += (count - mean) ** 2 / mean;
    }
    assert.equal(seen, connections, JSON.stringify(answers.find(({ error }) => error !== undefined)));
    // Two degrees of freedom: more than 27.6 once in a million.
    assert.ok(chi < 27.6, `chi-square ${chi}`);
    assert.deepEqual([...new Set(answers.map(({ from }) => from))], [at('client')[family]]);
  });

  test(`IPv${family}: clients inside get the shares of other machines from their pods, not from IPVS`, async () => {
    const shared = mapOf([service(vip, 90, [at('pod1')[family]], { slots: 4 })]);
    await program({ services: shared, inside: mapOf([service(vip, 90, [at('elsewhere')[family]])]) });
    for (const from of ['pod2', 'node'] as const) {
      const names = (await ask(from, vip, 90, 100)).map(({ name }) => name ?? 'none');
      assert.deepEqual([...new Set(names)].sort(), ['elsewhere', 'pod1'], from);
    }
    // One from outside goes on.
    assert.deepEqual([...new Set((await ask('client', vip, 90, 100)).map(({ name }) => name))].sort(), ['node', 'pod1']);
  });

  test(`IPv${family}: replies promise small segments where that is wanted, larger promises only`, async () => {
    const [small, large] = family === 4 ? [1360, 9000] : [1340, 9000];
    const other = OTHER[family];
    await program({
      services: mapOf([service(vip, 80, pods), service(other, 80, pods)]),
      segments: new Map([[vip, small]]),
    });
    const usual = family === 4 ? 1460 : 1440;
    assert.deepEqual(await segmentsSeen(vip), [usual, small]);
    assert.deepEqual(await segmentsSeen(other), [usual, usual]);
    await program({ services: mapOf([service(vip, 80, pods)]), segments: new Map([[vip, large]]) });
    assert.deepEqual(await segmentsSeen(vip), [usual, usual]);
  });
}

/** Largest segments that the client and the VIP promise each other in one connection, as the client's wire has them. */
async function segmentsSeen(vip: string): Promise<number[]> {
  const capture = spawn(
    'nsenter',
    [`--net=${space('client').path}`, 'tcpdump', '-lni', 'eth0', '-c', '2', `host ${vip} and (tcp or ip6 proto 6)`],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let [text, errors] = ['', ''];
  capture.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  const listening = new Promise<void>((resolve) => {
    capture.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      errors += chunk;
      if (errors.includes('listening on')) resolve();
    });
  });
  const ended = once(capture, 'close');
  await Promise.race([listening, ended]);
  await ask('client', vip, 80);
  const [status] = (await ended) as [number | null];
  assert.equal(status, 0, errors);
  return text.split('\n').flatMap((line) => {
    const size = /\bmss (\d+)/.exec(line)?.[1];
    return size === undefined ? [] : [Number(size)];
  });
}

test('without counters connections arrive all the same, and none is claimed', async () => {
  const nat = await program({ services: mapOf([service(VIP[4], 80, [at('pod1')[4]])]), counters: false });
  assert.equal((await ask('client', VIP[4], 80))[0]?.name, 'pod1');
  assert.deepEqual([...(await nat.connections())], []);
});

test('nft lists both tables, and what it lists it loads again', async () => {
  await program({
    addresses: [VIP[4], VIP[6]],
    services: mapOf(FAMILIES.flatMap((family) => [service(VIP[family], 53, [at('pod1')[family]], { protocol: UDP, slots: 4 })])),
    inside: mapOf(FAMILIES.map((family) => service(VIP[family], 81, [at('elsewhere')[family]]))),
    masquerade: { enabled: true, exceptSource: { address: '10.0.0.0', prefix: 12 } },
    masqueraded: new Map(
      FAMILIES.map((family) => [
        natKey({ address: VIP[family], protocol: TCP, port: 443 }),
        { address: VIP[family], protocol: TCP, port: 443 },
      ]),
    ),
    segments: new Map([
      [VIP[4], 1360],
      [VIP[6], 1220],
    ]),
  });
  const listed = nft(node, 'list', 'ruleset').replaceAll(/ counter packets \d+ bytes \d+/g, ' counter');
  assert.equal(listed, readFileSync(RULESET, 'utf8'));
  await using again = await Netns.create();
  assert.equal(nftScript(again, listed), '');
  assert.equal(nft(again, 'list', 'ruleset').replaceAll(/ counter packets \d+ bytes \d+/g, ' counter'), listed);
});
