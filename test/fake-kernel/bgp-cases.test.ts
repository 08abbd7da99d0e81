/** A director among several, from the state of a cluster to the kernel and the BGP daemon, in one recorded sequence. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { BgpConfig } from '../../src/model/bgp.ts';
import type { ClusterState } from '../../src/model/cluster.ts';
import { parseCommunities } from '../../src/model/communities.ts';
import { destinationKey, serviceKey } from '../../src/native/ipvs-columns.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { changed, cluster, whole, type ClusterShape } from './cluster.ts';
import type { FakeKernel } from './kernel.ts';
import { defaultBgp, holdings, Rig } from './rig.ts';

const both = parseCommunities(['65000:200', '65000:100']);
const marked: Partial<AgentOptions> = { bgp: { ...defaultBgp, attributes: both } };

const web = (vips: readonly string[], pods: ClusterShape['pods'] = { web: ['n1', 'n2'] }): ClusterState =>
  cluster({ pods, vips: vips.map((vip) => [vip, 80, 'web'] as const) });
const saying = (state: ClusterState, bgp: BgpConfig): ClusterState => ({ ...state, bgp });

/** Kernel and daemon write into one record from now on. */
function recording(rig: Rig): Rig {
  const { journal } = rig.kernel;
  rig.daemon.onWrite = (op, prefix) => journal.write(`bgp.${op}`, prefix);
  journal.clear();
  return rig;
}

const written = ({ kernel }: Rig): string[] => kernel.journal.calls.map(({ op, subject }) => `${op} ${subject}`);
const about = (rig: Rig, vip: string): string[] => written(rig).filter((line) => line.includes(vip));
const prefixes = (rig: Rig): string[] => [...rig.daemon.ours.keys()].sort();
/** A session with somebody who listens. */
const heard = (rig: Rig): Rig => {
  rig.daemon.setPeer({ address: '10.0.0.9', asn: 65009 }, false);
  return rig;
};

suite('C15a VIP diff and announcements', () => {
  test('C15a: of .10 and .12, wanted .10 and .11: .11 is added, .12 taken away, .10 left alone; each in its order', async () => {
    const rig = recording(new Rig('bgp', undefined, marked));
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.12'])));
    assert.deepEqual(prefixes(rig), ['192.0.2.10/32', '192.0.2.12/32']);
    recording(rig);
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.11'])));
    await rig.advance(5000);
    assert.deepEqual(about(rig, '192.0.2.11'), [
      'links.addAddress 192.0.2.11/32 dev ravel0',
      'ipvs.addService tcp 192.0.2.11:80',
      'ipvs.addDestination tcp 192.0.2.11:80 -> 10.20.0.1:80',
      'ipvs.addDestination tcp 192.0.2.11:80 -> 10.20.0.2:80',
      'bgp.add 192.0.2.11/32',
    ]);
    assert.deepEqual(about(rig, '192.0.2.12'), [
      'bgp.withdraw 192.0.2.12/32',
      'ipvs.deleteDestination tcp 192.0.2.12:80 -> 10.20.0.1:80',
      'ipvs.deleteDestination tcp 192.0.2.12:80 -> 10.20.0.2:80',
      'ipvs.deleteService tcp 192.0.2.12:80',
      'links.deleteAddress 192.0.2.12/32 dev ravel0',
    ]);
    assert.deepEqual(about(rig, '192.0.2.10'), []);
    const path = rig.daemon.ours.get('192.0.2.11/32');
    assert.deepEqual(path, { prefix: '192.0.2.11/32', nextHop: '0.0.0.0', ...both }, 'both communities, one list');
    recording(rig);
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.11'])));
    await rig.advance(130_000);
    assert.deepEqual(written(rig), [], 're-run: no action');
    await rig.kill();
  });

  test('C15a: of an earlier life, a route that is missing is added, one too many withdrawn', async () => {
    const first = new Rig('bgp', undefined, marked);
    await first.publish(whole(web(['192.0.2.10', '192.0.2.12'])));
    await first.kill();
    const { kernel, daemon, folder } = first;
    daemon.deleteOurs('192.0.2.10/32');
    const second = recording(new Rig('bgp', kernel, marked, folder, {}, { daemon }));
    await second.advance(5000);
    assert.deepEqual(written(second), [], 'nothing is known yet, so nothing is done');
    await second.publish(whole(web(['192.0.2.10', '192.0.2.11'])));
    assert.deepEqual(about(second, '192.0.2.10'), ['bgp.add 192.0.2.10/32']);
    assert.equal(about(second, '192.0.2.12')[0], 'bgp.withdraw 192.0.2.12/32');
    assert.deepEqual(prefixes(second), ['192.0.2.10/32', '192.0.2.11/32']);
    await second.kill();
  });

  test('C15a: IPv6 likewise, by its length, and with no address on the facing interface', async () => {
    const rig = recording(new Rig('bgp', undefined, marked));
    await rig.publish(
      whole(
        cluster({
          pods: { web: ['n1'] },
          vips: [
            ['2001:db8::10', 80, 'web'],
            ['192.0.2.10', 80, 'web'],
          ],
        }),
      ),
    );
    assert.deepEqual(prefixes(rig), ['192.0.2.10/32'], 'nodes without IPv6: no backend, not announced');
    await rig.kill();
    const six: ClusterState = withIpv6Nodes(cluster({ pods: { web: ['n1'] }, vips: [['2001:db8::10', 80, 'web']] }));
    const other = recording(new Rig('bgp', undefined, marked));
    await other.publish(whole(six));
    assert.deepEqual(
      about(other, '2001:db8::10').map((line) => line.split(' ')[0]),
      ['links.addAddress', 'ipvs.addService', 'ipvs.addDestination', 'bgp.add'],
    );
    assert.deepEqual(other.daemon.ours.get('2001:db8::10/128')?.nextHop, '::');
    assert.equal(other.kernel.arp.sent.length, 0);
    assert.equal(other.kernel.ndp.sent.length, 0);
    recording(other);
    await other.publish(whole(six));
    await other.advance(70_000);
    assert.deepEqual(written(other), []);
    await other.kill();
  });

  test('C15a: a VIP without a backend is placed and programmed, and not announced; with one it is', async () => {
    const rig = recording(heard(new Rig('bgp')));
    await rig.publish(whole(web(['192.0.2.10'], { web: [] })));
    assert.deepEqual(prefixes(rig), []);
    assert.deepEqual(about(rig, '192.0.2.10'), ['links.addAddress 192.0.2.10/32 dev ravel0']);
    assert.equal(rig.composition.plane.vip('192.0.2.10').reason?.code, 'NoEndpoints');
    recording(rig);
    const ready = web(['192.0.2.10']);
    await rig.publish(changed(ready, 'web'));
    assert.equal(written(rig).at(-1), 'bgp.add 192.0.2.10/32');
    assert.ok(rig.kernel.ipvs.services()[0]?.destinations.some(({ spec }) => spec.weight > 0));
    assert.deepEqual(rig.composition.plane.vip('192.0.2.10'), { address: '192.0.2.10', announced: true, reason: undefined, conflicts: 0 });
    await rig.kill();
  });

  test('C15a: when the last backend goes: route, then weight 0, then, its connections over, the destination', async () => {
    const rig = recording(new Rig('bgp'));
    await rig.publish(whole(web(['192.0.2.10'])));
    connect(rig.kernel, 3);
    recording(rig);
    await rig.publish(changed(web(['192.0.2.10'], { web: [] }), 'web'));
    assert.deepEqual(written(rig), [
      'bgp.withdraw 192.0.2.10/32',
      'ipvs.setDestination tcp 192.0.2.10:80 -> 10.20.0.1:80',
      'ipvs.setDestination tcp 192.0.2.10:80 -> 10.20.0.2:80',
    ]);
    await rig.advance(30_000);
    assert.equal(written(rig).length, 3, 'as long as there are connections');
    connect(rig.kernel, 0);
    await rig.advance(30_000);
    assert.deepEqual(
      written(rig)
        .slice(3)
        .map((line) => line.split(' ')[0]),
      ['ipvs.deleteDestination', 'ipvs.deleteDestination', 'ipvs.deleteService'],
    );
    assert.deepEqual(prefixes(rig), []);
    await rig.kill();
  });

  test('C15a: a daemon that is slow to withdraw holds IPVS up for two seconds, and no longer', async () => {
    const rig = new Rig('bgp');
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.12'])));
    recording(rig);
    rig.daemon.latency = 60_000;
    rig.passesWait = true;
    rig.loop.publish(whole(web(['192.0.2.10'])));
    await rig.advance(1900);
    assert.deepEqual(written(rig), [], 'not before the route');
    await rig.advance(200);
    assert.ok(written(rig).includes('ipvs.deleteService tcp 192.0.2.12:80'));
    assert.deepEqual(rig.loop.status().failures, []);
    await rig.kill();
  });
});

suite('mode bgp: the daemon never stands in the way of the data plane', () => {
  test('absent: everything is programmed, each VIP says why it is not announced; there again: announced, nothing else is written', async () => {
    const rig = heard(new Rig('bgp'));
    rig.daemon.stop();
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.11'])));
    await rig.advance(1000);
    assert.equal(rig.kernel.ipvs.services().length, 2);
    assert.deepEqual(rig.loop.status().failures, [], 'it is no failure of the kernel');
    assert.equal(rig.loop.status().nextRetryMilliseconds, undefined, 'and no reason to try the kernel again');
    const plane = rig.composition.plane.status();
    assert.deepEqual(
      plane.vips.map(({ announced, reason }) => [announced, reason?.code]),
      [
        [false, 'BgpUnreachable'],
        [false, 'BgpUnreachable'],
      ],
    );
    assert.match(plane.warnings.join('\n'), /^BGP daemon 127\.0\.0\.1:50051: .*no answer/m);
    assert.equal(rig.composition.bgp?.().state, 'unreachable');
    recording(rig);
    rig.daemon.restart();
    await rig.advance(15_000);
    assert.deepEqual(written(rig).sort(), ['bgp.add 192.0.2.10/32', 'bgp.add 192.0.2.11/32']);
    assert.deepEqual(rig.composition.plane.vip('192.0.2.10').reason, undefined);
    assert.deepEqual(
      rig.composition.plane.status().warnings.filter((warning) => warning.startsWith('BGP')),
      [],
    );
    await rig.kill();
  });

  test('while it is away: what goes is dismantled at once, and not announced when it is back', async () => {
    const rig = new Rig('bgp');
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.11'])));
    rig.daemon.stop();
    await rig.advance(0);
    recording(rig);
    await rig.publish(whole(web(['192.0.2.11'])));
    assert.ok(written(rig).includes('ipvs.deleteService tcp 192.0.2.10:80'), 'without a wait');
    rig.daemon.restart(true);
    await rig.advance(15_000);
    assert.deepEqual(prefixes(rig), ['192.0.2.11/32']);
    await rig.kill();
  });

  test('it refuses one route: the VIP says so, the others are announced', async () => {
    const rig = heard(new Rig('bgp'));
    rig.daemon.fault = (operation, subject) => (operation === 'add' && subject.startsWith('192.0.2.10') ? 'refuse' : undefined);
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.11'])));
    assert.deepEqual(prefixes(rig), ['192.0.2.11/32']);
    assert.equal(rig.composition.plane.vip('192.0.2.10').reason?.code, 'BgpRefused');
    assert.equal(rig.composition.plane.vip('192.0.2.11').reason, undefined);
    assert.deepEqual(rig.loop.status().failures, []);
    await rig.kill();
  });

  test('no neighbour is up: announced, and that nobody hears of it is said', async () => {
    const rig = heard(new Rig('bgp'));
    rig.daemon.session('10.0.0.9', 'active');
    await rig.publish(whole(web(['192.0.2.10'])));
    const { announced, reason } = rig.composition.plane.vip('192.0.2.10');
    assert.deepEqual([announced, reason?.code], [true, 'BgpNoSession']);
    rig.daemon.session('10.0.0.9', 'established');
    await rig.advance(1000);
    assert.equal(rig.composition.plane.vip('192.0.2.10').reason, undefined);
    await rig.kill();
  });

  test('somebody in another system announces the same VIP: a word beside it, and still announced', async () => {
    const rig = heard(new Rig('bgp'));
    rig.daemon.learn({ prefix: '192.0.2.10/32', nextHop: '10.0.0.9', communities: [], largeCommunities: [] }, '10.0.0.9', 64999);
    rig.daemon.learn({ prefix: '192.0.2.11/32', nextHop: '10.0.0.9', communities: [], largeCommunities: [] }, '10.0.0.9', 65000);
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.11'])));
    assert.deepEqual(prefixes(rig), ['192.0.2.10/32', '192.0.2.11/32']);
    await rig.advance(61_000);
    assert.deepEqual(
      ['192.0.2.10', '192.0.2.11'].map((vip) => rig.composition.plane.vip(vip).reason?.code),
      ['BgpConflict', undefined],
      'another director of ours is nothing to speak of',
    );
    await rig.kill();
  });
});

suite('mode bgp: what stays', () => {
  test('a restart with nothing changed writes nothing to the kernel nor to the daemon', async () => {
    const state = web(['192.0.2.10', '192.0.2.11']);
    const first = new Rig('bgp', undefined, marked);
    await first.publish(whole(state));
    await first.kill();
    assert.deepEqual(prefixes(first), ['192.0.2.10/32', '192.0.2.11/32'], 'the end of the agent is not the end of its routes');
    const second = recording(new Rig('bgp', first.kernel, marked, first.folder, {}, { daemon: first.daemon }));
    await second.publish(whole(state));
    await second.advance(65_000);
    assert.deepEqual(written(second), []);
    assert.equal(second.kernel.writes, 0);
    await second.kill();
  });

  test('routes of others are never touched, whatever comes and goes', async () => {
    const rig = new Rig('bgp');
    const foreign = { nextHop: '10.0.0.1', communities: [], largeCommunities: [] };
    rig.daemon.addForeign({ prefix: '192.0.2.10/32', ...foreign });
    rig.daemon.addForeign({ prefix: '198.51.100.0/24', ...foreign });
    const before = rig.daemon.others;
    await rig.publish(whole(web(['192.0.2.10'])));
    await rig.publish(whole(web(['192.0.2.11'])));
    assert.deepEqual(rig.daemon.others, before);
    await rig.kill();
  });

  test('other communities for one VIP in the configuration replace its route, and nothing else anywhere', async () => {
    const state = web(['192.0.2.10', '192.0.2.11']);
    const rig = new Rig('bgp', undefined, marked);
    await rig.publish(whole(saying(state, { routes: new Map() })));
    recording(rig);
    const more = parseCommunities(['65000:1', '65000:1:2']);
    await rig.publish(whole(saying(state, { routes: new Map([['192.0.2.10', { ...more, med: 5 }]]) })));
    assert.deepEqual(written(rig), ['bgp.add 192.0.2.10/32'], 'replaced in one step, without a withdrawal');
    assert.deepEqual(rig.daemon.ours.get('192.0.2.10/32'), {
      ...{ prefix: '192.0.2.10/32', nextHop: '0.0.0.0', largeCommunities: [[65000, 1, 2]], med: 5 },
      communities: parseCommunities(['65000:1', '65000:100', '65000:200']).communities,
    });
    assert.deepEqual(rig.daemon.ours.get('192.0.2.11/32')?.communities, both.communities);
    await rig.kill();
  });

  test('neighbours of the flags and of the configuration are set up; without any, those of the daemon are left alone', async () => {
    const peers = [
      { address: '10.0.0.1', asn: 1 },
      { address: '10.0.0.3', asn: 3 },
    ];
    const rig = heard(new Rig('bgp', undefined, { bgp: { ...defaultBgp, peers } }));
    await rig.publish(whole(saying(web(['192.0.2.10']), { peers: [{ address: '10.0.0.1', asn: 2 }], routes: new Map() })));
    const asns = [...rig.daemon.neighbours].map(([address, { request }]) => [address, request.asn]).sort();
    assert.deepEqual(asns, [
      ['10.0.0.1', 2],
      ['10.0.0.3', 3],
      ['10.0.0.9', 65009],
    ]);
    await rig.kill();
    const alone = heard(new Rig('bgp'));
    await alone.publish(whole(web(['192.0.2.10'])));
    assert.deepEqual([...alone.daemon.neighbours.keys()], ['10.0.0.9']);
    assert.equal(alone.daemon.called('addPeer') + alone.daemon.called('deletePeer') + alone.daemon.called('updatePeer'), 0);
    await alone.kill();
  });
});

suite('mode bgp: the segment', () => {
  test('the facing interface keeps silent, as on a realserver; nothing speaks up on it', async () => {
    const rig = new Rig('bgp');
    await rig.publish(whole(web(['192.0.2.10'])));
    await rig.advance(120_000);
    const { values } = rig.kernel.sysctls;
    assert.deepEqual([values.get('net/ipv4/conf/eth0/arp_ignore'), values.get('net/ipv4/conf/eth0/arp_announce')], ['1', '2']);
    assert.equal(rig.kernel.arp.sent.length, 0);
    await rig.kill();
    // Negative: a director of the segment speaks, and answers.
    const director = new Rig('director');
    await director.publish(whole(web(['192.0.2.10'])));
    await director.advance(1000);
    assert.equal(director.kernel.sysctls.values.get('net/ipv4/conf/eth0/arp_ignore'), '0');
    assert.ok(director.kernel.arp.sent.length > 0);
    await director.kill();
  });

  test('the settings are put back when the machine becomes a director of the segment, and its routes are the other’s to keep', async () => {
    const rig = new Rig('bgp');
    await rig.publish(whole(web(['192.0.2.10'])));
    await rig.kill();
    const director = new Rig('director', rig.kernel, {}, rig.folder);
    await director.publish(whole(web(['192.0.2.10'])));
    const { values } = director.kernel.sysctls;
    assert.deepEqual([values.get('net/ipv4/conf/eth0/arp_ignore'), values.get('net/ipv4/conf/eth0/arp_announce')], ['0', '0']);
    await director.kill();
  });

  test('settings for flows that a router moves here are made even without the defaults', async () => {
    const rig = new Rig('bgp');
    for (const name of ['sloppy_tcp', 'sloppy_sctp', 'expire_nodest_conn']) rig.kernel.sysctls.values.set(`net/ipv4/vs/${name}`, '0');
    await rig.publish(whole(web(['192.0.2.10'])));
    const { values } = rig.kernel.sysctls;
    assert.deepEqual([values.get('net/ipv4/vs/sloppy_tcp'), values.get('net/ipv4/vs/sloppy_sctp')], ['1', '1']);
    await rig.kill();
  });
});

suite('mode bgp: plan', () => {
  test('shows routes beside the rest, in the order of a pass, and writes nothing', async () => {
    const rig = new Rig('bgp', undefined, marked);
    await rig.publish(whole(web(['192.0.2.10', '192.0.2.12'])));
    recording(rig);
    const { changes, unseen } = await rig.composition.plane.preview(web(['192.0.2.10', '192.0.2.11']));
    assert.equal(unseen, undefined);
    const paths = changes.filter(({ kind }) => kind === 'path');
    assert.deepEqual(paths, [
      { vip: '192.0.2.12', kind: 'path', op: 'withdrawPath', text: '192.0.2.12/32' },
      { vip: '192.0.2.11', kind: 'path', op: 'addPath', text: '192.0.2.11/32 next hop 0.0.0.0 communities 65000:100 65000:200' },
    ]);
    assert.equal(changes[0], paths[0], 'down first');
    assert.equal(changes.at(-1), paths[1], 'up last');
    assert.deepEqual(written(rig), []);
    await rig.kill();
  });

  test('without the daemon it shows what would change in the kernel, and says what is not known', async () => {
    const rig = new Rig('bgp');
    rig.daemon.stop();
    const { changes, unseen } = await rig.composition.plane.preview(web(['192.0.2.10']));
    assert.match(unseen ?? '', /what would change in the BGP daemon is not known: .*no answer/);
    assert.ok(changes.some(({ op }) => op === 'addService'));
    assert.deepEqual(
      changes.filter(({ kind }) => kind === 'path'),
      [],
    );
    await rig.kill();
  });
});

/** So many connections to each destination. */
function connect(kernel: FakeKernel, count: number): void {
  for (const { id, destinations } of kernel.ipvs.services())
    for (const destination of destinations) kernel.ipvs.setConnections(serviceKey(id), destinationKey(destination.id), count);
}

function withIpv6Nodes(state: ClusterState): ClusterState {
  const nodes = [...state.nodes].map(
    ([name, node]) => [name, { ...node, addresses: [...node.addresses, `2001:db8:20::${name.slice(1)}`] }] as const,
  );
  const services = [...state.services].map(([key, service]) => {
    const endpoints = service.endpoints.map((endpoint) => ({
      ...endpoint,
      address: endpoint.address.replace(/^.*\.(\d+)$/, '2001:db8:50::$1'),
    }));
    return [key, { ...service, endpoints }] as const;
  });
  return { ...state, nodes: new Map(nodes), services: new Map(services) };
}

test('the rest of the state is compared as for a director', async () => {
  const rig = new Rig('bgp');
  const director = new Rig('director');
  const state = web(['192.0.2.10', '192.0.2.11']);
  await rig.publish(whole(state));
  await director.publish(whole(state));
  const [ours, theirs] = (await Promise.all([holdings(rig.kernel), holdings(director.kernel)])) as {
    services: unknown;
    addresses: unknown;
  }[];
  assert.deepEqual([ours?.services, ours?.addresses], [theirs?.services, theirs?.addresses]);
  await rig.kill();
  await director.kill();
});
