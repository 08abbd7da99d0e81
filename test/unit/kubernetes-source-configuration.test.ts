/** The configuration among the kinds of objects: where it comes from, and what is said about it. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { resources } from '../../src/kubernetes/api.ts';
import { configMap } from '../fake-api/objects.ts';
import { SourceRig } from '../fake-api/rig.ts';
import { web, putConfig, putPods, onN1, populated, keys, addresses } from './kubernetes-populated.ts';

suite('the configuration', () => {
  test('from the key, the name and the namespace that were given, and from nowhere else', async () => {
    const rig = new SourceRig({ config: { namespace: 'edge', name: 'vips', key: 'blue' } });
    const { store } = rig.api;
    const text = (vip: string): string => JSON.stringify({ config: { [vip]: {} } });
    store.put(resources.configMaps, configMap('edge', 'other', { blue: text('192.0.2.1') }));
    store.put(resources.configMaps, configMap('lb', 'vips', { blue: text('192.0.2.2') }));
    await rig.advance(100);
    assert.deepEqual([rig.publications, rig.refusals], [[], [[{ path: '', message: 'ConfigMap edge/vips does not exist' }]]]);
    store.put(resources.configMaps, configMap('edge', 'vips', { green: text('192.0.2.3') }));
    await rig.advance(100);
    assert.deepEqual(rig.refusals.at(-1), [{ path: 'data."blue"', message: 'ConfigMap edge/vips has no such key' }]);
    store.put(resources.configMaps, configMap('edge', 'vips', { green: text('192.0.2.3'), blue: text('192.0.2.4') }));
    await rig.advance(100);
    assert.deepEqual(rig.last?.state.addresses, ['192.0.2.4']);
    await rig.stop();
  });

  test('before the first good one nothing is published', async () => {
    const rig = populated();
    putConfig(rig, '{');
    await rig.advance(60_000);
    assert.deepEqual([rig.publications.length, rig.refusals.length], [0, 1]);
    putConfig(rig);
    await rig.advance(100);
    assert.deepEqual([keys(rig.last), rig.last?.configuration], ['all', 'new']);
    await rig.stop();
  });

  for (const [what, value, path] of [
    ['broken JSON', '{"config": {', ''],
    [
      'one bad entry',
      { config: { ...web.config, '192.0.2.11': { '80': { service: 'web', portName: 'http', tcpEnabled: 'yes' } } } },
      'config."192.0.2.11"."80".tcpEnabled',
    ],
    ['a key that is misspelt', { ...web, confg6: {} }, 'confg6'],
    ['an IPv4 address in config6', { ...web, config6: { '192.0.2.12': {} } }, 'config6."192.0.2.12"'],
    ['nothing', '', ''],
    ['nodes and services', { ...web, nodes: [], services: [] }, 'nodes'],
  ] as const) {
    test(`${what}: refused whole with its path, told once, and the last good one stays while the cluster goes on`, async () => {
      const rig = populated();
      await rig.advance(1000);
      putConfig(rig, value);
      await rig.advance(100);
      putConfig(rig, value);
      await rig.advance(100);
      assert.equal(rig.refusals.length, 1);
      assert.equal(rig.refusals[0]?.[0]?.path, path);
      assert.equal(rig.publications.length, 1);
      putPods(rig, onN1('10.244.1.8'));
      await rig.advance(100);
      assert.deepEqual([addresses(rig.last), rig.last?.configuration], [['10.244.1.8'], 'refused']);
      putConfig(rig);
      await rig.advance(100);
      // The same as before the refusal: nothing to do, but worth a word.
      assert.deepEqual([keys(rig.last), rig.last?.configuration], [[], 'new']);
      await rig.stop();
    });
  }

  test('a deleted ConfigMap, and one that lost its key: the last good one stays, and that is told', async () => {
    const rig = populated();
    await rig.advance(1000);
    rig.api.store.remove(resources.configMaps, 'lb/ravel');
    await rig.advance(100);
    assert.deepEqual(rig.refusals, [[{ path: '', message: 'ConfigMap lb/ravel was deleted' }]]);
    rig.api.store.put(resources.configMaps, configMap('lb', 'ravel', {}));
    await rig.advance(100);
    assert.deepEqual(rig.refusals.at(-1), [{ path: 'data."prod"', message: 'ConfigMap lb/ravel has no such key' }]);
    rig.api.store.put(resources.configMaps, { ...configMap('lb', 'ravel', {}), binaryData: { prod: 'e30=' } });
    await rig.advance(100);
    assert.match(rig.refusals.at(-1)?.[0]?.message ?? '', /it is in binaryData$/);
    rig.api.store.put(resources.configMaps, { ...configMap('lb', 'ravel', {}), data: { prod: 7 } });
    await rig.advance(100);
    assert.match(rig.refusals.at(-1)?.[0]?.message ?? '', /has no such key$/);
    rig.api.store.put(resources.configMaps, configMap('lb', 'ravel', { prod: 'x'.repeat(5_000_000) }));
    await rig.advance(100);
    assert.match(rig.refusals.at(-1)?.[0]?.message ?? '', /is longer than 4194304 characters/);
    assert.equal(rig.publications.length, 1);
    assert.deepEqual(rig.last?.state.addresses, ['192.0.2.10']);
    await rig.stop();
  });

  test('a ConfigMap deleted while the connection was down', async () => {
    const rig = populated();
    await rig.advance(1000);
    rig.api.down = true;
    rig.api.store.remove(resources.configMaps, 'lb/ravel');
    rig.api.store.compact();
    await rig.advance(20_000);
    rig.api.down = false;
    await rig.advance(60_000);
    assert.deepEqual(rig.refusals, [[{ path: '', message: 'ConfigMap lb/ravel was deleted' }]]);
    assert.deepEqual(rig.last?.state.addresses, ['192.0.2.10']);
    await rig.stop();
  });
});
