/** A director among several, from the state of a cluster to the kernel and the BGP daemon, in one recorded sequence. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { ClusterState } from '../../src/model/cluster.ts';
import { destinationKey, serviceKey } from '../../src/native/ipvs-columns.ts';
import { about, both, heard, marked, prefixes, recording, web, written } from './bgp-rig.ts';
import { changed, cluster, whole } from './cluster.ts';
import type { FakeKernel } from './kernel.ts';
import { Rig } from './rig.ts';

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
    await rig.reached(() => rig.daemon.called('withdraw') === 1);
    await rig.advance(1900);
    assert.deepEqual(written(rig), [], 'not before the route');
    await rig.advance(200);
    await rig.reached(() => !rig.loop.active);
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
