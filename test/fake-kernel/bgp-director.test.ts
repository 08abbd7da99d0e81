/** A director among several: restarts, changes of what routes say, the segment, plan. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { parseCommunities } from '../../src/model/communities.ts';
import { both, heard, marked, prefixes, recording, saying, web, written } from './bgp-rig.ts';
import { whole } from './cluster.ts';
import { defaultBgp, holdings, Rig } from './rig.ts';

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
