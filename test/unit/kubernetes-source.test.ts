/** The kinds of objects together: what is published, and when. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { resources } from '../../src/kubernetes/api.ts';
import type { Publication } from '../../src/model/cluster.ts';
import { lease, node, service } from '../fake-api/objects.ts';
import { SourceRig } from '../fake-api/rig.ts';
import { web, putConfig, putPods, onN1, populated, keys, addresses } from './kubernetes-populated.ts';

suite('the first state', () => {
  test('is published once all kinds are whole, whatever the order in which they come', async () => {
    const kinds = ['services', 'endpointslices', 'configmaps', 'nodes', 'leases'];
    for (const late of kinds) {
      const rig = populated();
      rig.api.faults.add('list', late, { delay: 10_000 });
      await rig.advance(9_900);
      assert.deepEqual(rig.publications, [], `without ${late}`);
      await rig.advance(200);
      assert.equal(rig.publications.length, 1, late);
      assert.deepEqual([keys(rig.last), addresses(rig.last)], ['all', ['10.244.1.1']]);
      await rig.stop();
    }
  });

  test('five kinds for a director, three for a realserver, of which it never asks for others', async () => {
    for (const [mode, expected] of [
      ['director', ['services', 'endpointslices', 'configmaps', 'nodes', 'leases']],
      ['realserver', ['services', 'endpointslices', 'configmaps']],
    ] as const) {
      const rig = populated({ mode });
      await rig.advance(1000);
      assert.deepEqual(
        rig.source.status().map(({ resource }) => resource),
        expected,
      );
      assert.deepEqual(new Set(rig.api.received.map(({ resource }) => resource)), new Set(expected));
      assert.equal(rig.api.watches.size, expected.length);
      assert.equal(rig.publications.length, 1);
      await rig.stop();
    }
  });

  test('a scheduler for those that name none, where the caller has another than the usual one', async () => {
    for (const [options, expected] of [
      [{}, 'wrr'],
      [{ defaultScheduler: 'mh' }, 'mh'],
    ] as const) {
      const rig = populated(options);
      await rig.advance(1000);
      assert.deepEqual([...new Set([...(rig.last?.state.virtualServices.values() ?? [])].map(({ scheduler }) => scheduler))], [expected]);
      await rig.stop();
    }
  });

  test('leases that may not be read hold nothing up: then nobody knows what is confirmed', async () => {
    const rig = populated();
    rig.api.faults.forbid('list', 'leases');
    await rig.advance(1000);
    assert.equal(rig.publications.length, 1);
    assert.equal(rig.last?.state.confirmed, undefined);
    assert.match(rig.trouble('leases')?.message ?? '', /^list leases\.coordination\.k8s\.io: forbidden/);
    rig.api.store.put(resources.leases, lease('lb', 'n1', '7'));
    rig.api.faults.heal();
    await rig.advance(60_000);
    assert.deepEqual(rig.last?.state.confirmed, new Map([['n1', 7]]));
    assert.equal(rig.trouble('leases'), undefined);
    await rig.stop();
  });

  test('any other kind that may not be read holds everything up, and is named', async () => {
    const rig = populated();
    rig.api.faults.forbid('list', 'endpointslices');
    await rig.advance(60_000);
    assert.deepEqual(rig.publications, []);
    assert.deepEqual(rig.trouble('endpointslices')?.path, 'endpointslices.discovery.k8s.io');
    assert.match(
      rig.trouble('endpointslices')?.message ?? '',
      /^list endpointslices\.discovery\.k8s\.io: forbidden \(403\): .*cannot list resource/,
    );
    rig.api.faults.heal();
    await rig.advance(32_000);
    assert.equal(rig.publications.length, 1);
    await rig.stop();
  });
});

suite('changes', () => {
  test('one endpoint: the virtual services of its Service, within 50 ms, everything else the same object', async () => {
    const rig = populated();
    rig.api.store.put(resources.services, service({ name: 'other' }));
    putPods(rig, onN1('10.244.9.9'), 'other');
    await rig.advance(1000);
    const before = rig.last;
    putPods(rig, onN1('10.244.1.1', '10.244.1.2'));
    await rig.advance(9);
    assert.equal(rig.last, before);
    await rig.advance(41);
    assert.deepEqual([keys(rig.last), addresses(rig.last)], [['tcp 192.0.2.10:80'], ['10.244.1.1', '10.244.1.2']]);
    for (const part of ['nodes', 'virtualServices', 'virtualServicesOf', 'addresses', 'mtu', 'nodeLabels', 'confirmed'] as const) {
      assert.equal(rig.last?.state[part], before?.state[part], part);
    }
    assert.equal(rig.last?.state.services.get('default/other'), before?.state.services.get('default/other'));
    await rig.stop();
  });

  test('a burst is one publication; one that does not end is told every 50 ms', async () => {
    const rig = populated();
    await rig.advance(1000);
    const before = rig.publications.length;
    for (let time = 0; time < 4; time++) {
      putPods(rig, onN1('10.244.1.1', `10.244.2.${time + 1}`));
      await rig.advance(5);
    }
    await rig.advance(50);
    assert.equal(rig.publications.length, before + 1);
    for (let time = 0; time < 40; time++) {
      putPods(rig, onN1('10.244.1.1', `10.244.3.${time + 1}`));
      await rig.advance(5);
    }
    const during = rig.publications.length - before - 1;
    assert.ok(during === 3 || during === 4, `${during} publications in 200 ms`);
    await rig.stop();
  });

  test('what is equal is not published: heartbeats of nodes, slices written anew, Services that nobody balances', async () => {
    const rig = populated();
    await rig.advance(1000);
    rig.api.store.put(resources.nodes, { ...node({ name: 'n1', address: '10.20.0.1' }), heartbeat: 2 });
    putPods(rig, onN1('10.244.1.1'));
    putPods(rig, onN1('10.244.7.7'), 'nobody');
    rig.api.store.put(resources.services, service({ name: 'nobody' }));
    putConfig(rig);
    await rig.advance(1000);
    assert.equal(rig.publications.length, 1);
    assert.deepEqual(addresses(rig.last, 'nobody'), undefined);
    // It is known all the same, the moment somebody wants it.
    putConfig(rig, { config: { '192.0.2.10': { '80': { service: 'nobody', portName: 'http' } } } });
    await rig.advance(100);
    assert.deepEqual(addresses(rig.last, 'nobody'), ['10.244.7.7']);
    await rig.stop();
  });

  test("a node, and the labels that the configuration asks for, are of everybody's interest", async () => {
    const rig = populated();
    await rig.advance(1000);
    rig.api.store.put(resources.nodes, node({ name: 'n1', address: '10.20.0.1', ready: false }));
    await rig.advance(100);
    assert.deepEqual([keys(rig.last), rig.last?.state.nodes.get('n1')?.ready], ['all', false]);
    putConfig(rig, { ...web, labels: { pool: 'lb' } });
    await rig.advance(100);
    assert.deepEqual([keys(rig.last), rig.last?.state.nodeLabels], ['all', { pool: 'lb' }]);
    rig.api.store.remove(resources.nodes, 'n1');
    await rig.advance(100);
    assert.deepEqual([keys(rig.last), rig.last?.state.nodes.size], ['all', 0]);
    await rig.stop();
  });

  test('what the configuration says of BGP is passed on, its change is a change of everything, its mistakes are refused', async () => {
    const rig = populated();
    await rig.advance(1000);
    assert.equal('bgp' in (rig.last?.state ?? {}), false);
    putConfig(rig, { ...web, bgp: { peers: [{ address: '10.0.0.1', asn: 65001 }] } });
    await rig.advance(100);
    assert.deepEqual([keys(rig.last), rig.last?.state.bgp?.peers], ['all', [{ address: '10.0.0.1', asn: 65001 }]]);
    const { bgp } = rig.last?.state ?? {};
    putConfig(rig, { ...web, bgp: { peers: [{ asn: 65001, address: '10.0.0.1' }] } });
    await rig.advance(100);
    assert.equal(rig.last?.state.bgp, bgp, 'the same in other words is the very same');
    putConfig(rig, { ...web, bgp: { peers: [{ address: '10.0.0.1' }] } });
    await rig.advance(100);
    assert.deepEqual(
      rig.refusals.at(-1)?.map(({ path }) => path),
      ['bgp.peers[0].asn'],
    );
    putPods(rig, onN1('10.244.9.9'));
    await rig.advance(100);
    assert.equal(rig.last?.state.bgp, bgp, 'the last good one stays while endpoints go on');
    assert.notEqual(keys(rig.last), 'all');
    await rig.stop();
  });

  test('many Services at once are compared as a whole and told as what they are', async () => {
    const rig = new SourceRig();
    const names = Array.from({ length: 400 }, (_, index) => `s${index}`);
    rig.api.store.put(resources.nodes, node({ name: 'n1', address: '10.20.0.1' }));
    for (const name of names) rig.api.store.put(resources.services, service({ name }));
    putConfig(rig, {
      config: { '192.0.2.10': Object.fromEntries(names.map((name, port) => [String(port + 1), { service: name, portName: 'http' }])) },
    });
    await rig.advance(1000);
    names.slice(0, 300).forEach((name, index) => putPods(rig, onN1(`10.244.${index >> 7}.${(index & 127) + 1}`), name));
    await rig.advance(100);
    assert.equal(rig.publications.length, 2);
    assert.equal((keys(rig.last) ?? []).length, 300);
    await rig.stop();
  });

  test('a Service that changes its kind says so, without its endpoints being lost', async () => {
    const rig = populated();
    await rig.advance(1000);
    for (const [input, expected] of [
      [{ name: 'web', clusterIP: 'None' }, 'headless'],
      [{ name: 'web', type: 'ExternalName' }, 'externalName'],
      [{ name: 'web' }, undefined],
    ] as const) {
      rig.api.store.put(resources.services, service(input));
      await rig.advance(100);
      assert.deepEqual([keys(rig.last), rig.last?.state.services.get('default/web')?.unsupported], [['tcp 192.0.2.10:80'], expected]);
      assert.deepEqual(addresses(rig.last), ['10.244.1.1']);
    }
    await rig.stop();
  });

  test("endpoints without their Service are nobody's; the Service brings them along", async () => {
    const rig = populated();
    await rig.advance(1000);
    rig.api.store.remove(resources.services, 'default/web');
    await rig.advance(100);
    assert.deepEqual([keys(rig.last), addresses(rig.last)], [['tcp 192.0.2.10:80'], undefined]);
    rig.api.store.put(resources.services, service({ name: 'web' }));
    await rig.advance(100);
    assert.deepEqual(addresses(rig.last), ['10.244.1.1']);
    await rig.stop();
  });

  test('an annotation that is not understood is a warning of one publication', async () => {
    const rig = populated();
    await rig.advance(1000);
    for (const port of [80, 81]) {
      rig.api.store.put(
        resources.services,
        service({ name: 'web', ports: [{ name: 'http', port }], annotations: { 'ravel.io/drain-timeout': 'x' } }),
      );
      await rig.advance(100);
    }
    assert.deepEqual(
      rig.publications.map(({ warnings }) => warnings.length),
      [0, 1, 0],
    );
    await rig.stop();
  });
});

suite('trouble', () => {
  test('the server is away for ten minutes: nothing is published that lacks anything, then it goes on', async () => {
    const rig = populated();
    await rig.advance(1000);
    rig.api.down = true;
    await rig.advance(600_000);
    putPods(rig, onN1('10.244.1.7'));
    assert.equal(rig.publications.length, 1);
    for (const { state, error } of rig.source.status())
      assert.deepEqual([state, /connect ECONNREFUSED/.test(error ?? '')], ['waiting', true]);
    rig.api.down = false;
    await rig.advance(31_000);
    assert.deepEqual(addresses(rig.last), ['10.244.1.7']);
    await rig.advance(1000);
    for (const { state, error } of rig.source.status()) assert.deepEqual([state, error], ['watching', null]);
    assert.deepEqual(rig.refusals, []);
    await rig.stop();
  });

  test('a publication that its receiver cannot take ends the run, and nothing is left behind', async () => {
    const rig = populated({
      onPublication: () => {
        throw new TypeError('a mistake');
      },
    });
    await rig.advance(1000);
    await rig.ended;
    assert.ok(rig.failure instanceof TypeError);
    assert.deepEqual([rig.api.watches.size, rig.clock.timers], [0, 0]);
  });

  test('a source can be stopped before it begins and run again', async () => {
    const rig = populated();
    const stop = AbortSignal.abort();
    const never = (): never => assert.fail('nothing is told');
    await rig.source.run({ signal: stop, onPublication: never, onRefused: never });
    await rig.stop();
    const again = new AbortController();
    const publications: Publication[] = [];
    const ended = rig.source.run({ signal: again.signal, onPublication: (one) => publications.push(one), onRefused: never });
    await rig.advance(100);
    assert.deepEqual(publications.map(keys), ['all']);
    again.abort();
    await ended;
  });
});
