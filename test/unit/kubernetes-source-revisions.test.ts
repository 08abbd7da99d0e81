/** Revisions: of slices in what is published, and of what realservers confirm. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { resources } from '../../src/kubernetes/api.ts';
import { lease, node, slice } from '../fake-api/objects.ts';
import { putPods, onN1, populated, keys } from './kubernetes-populated.ts';

suite('revisions', () => {
  test('a Service has the revision of its newest slice, a state the one up to which all slices are in it', async () => {
    const rig = populated();
    await rig.advance(1000);
    const stored = rig.api.store.put(resources.endpointSlices, slice({ service: 'web', endpoints: onN1('10.244.1.5') }));
    await rig.advance(100);
    const revision = Number(stored.metadata.resourceVersion);
    assert.equal(rig.last?.state.services.get('default/web')?.revision, revision);
    assert.equal(rig.last.state.revision, revision);
    await rig.stop();
  });

  test('a realserver is told of newer revisions alone, at most once a second; a director is not', async () => {
    for (const mode of ['realserver', 'director'] as const) {
      const rig = populated({ mode });
      await rig.advance(1000);
      const before = rig.publications.length;
      for (let time = 0; time < 30; time++) {
        putPods(rig, onN1('10.244.9.9'), 'nobody');
        await rig.advance(100);
      }
      await rig.advance(1000);
      const count = rig.publications.length - before;
      if (mode === 'director') assert.equal(count, 0);
      else {
        assert.ok(count >= 1 && count <= 5, `${count} publications in 4 s`);
        assert.deepEqual([keys(rig.last), rig.last?.state.revision], [[], rig.api.store.revision]);
      }
      await rig.stop();
    }
  });

  test("a bookmark alone makes a realserver's revision newer", async () => {
    const rig = populated({ mode: 'realserver' });
    await rig.advance(1000);
    rig.api.store.put(resources.nodes, node({ name: 'n9', address: '10.20.0.9' }));
    await rig.advance(62_000);
    assert.equal(rig.last?.state.revision, rig.api.store.revision);
    await rig.stop();
  });

  test('what realservers confirm arrives as that, however old their leases are', async () => {
    const rig = populated();
    await rig.advance(1000);
    assert.deepEqual(rig.last?.state.confirmed, new Map());
    rig.api.store.put(resources.leases, lease('lb', 'n1', '41'));
    await rig.advance(100);
    const { change, state } = rig.last;
    assert.deepEqual(change, { all: false, virtualServices: new Set(), confirmed: true });
    assert.deepEqual(state.confirmed, new Map([['n1', 41]]));
    const before = rig.publications.length;
    // A renewal says nothing new.
    rig.api.store.put(resources.leases, lease('lb', 'n1', '41'));
    await rig.advance(3_600_000);
    assert.equal(rig.publications.length, before);
    rig.api.store.remove(resources.leases, 'lb/ravel-realserver-n1');
    await rig.advance(100);
    assert.deepEqual(rig.last.state.confirmed, new Map());
    await rig.stop();
  });
});
