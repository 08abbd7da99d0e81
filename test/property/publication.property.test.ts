/** Publications share what is equal and name what differs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ClusterService } from '../../src/model/cluster.ts';
import { PersistentMap } from '../../src/model/persistent-map.ts';
import { applyServiceChange, publish } from '../../src/model/publish.ts';
import { endpoint, input, stateOf } from './cluster-input.ts';

function sharesAllThatIsEqual<Value>(previous: ReadonlyMap<string, Value>, next: ReadonlyMap<string, Value>): void {
  for (const [key, value] of next) {
    const old = previous.get(key);
    if (old === undefined || old === value) continue;
    assert.notDeepEqual(old, value, `${key} is equal but not the same object`);
  }
}

describe('publication', () => {
  test('equal objects are the same objects, and every difference is named', () => {
    fc.assert(
      fc.property(input, input, fc.boolean(), (first, second, mixed) => {
        const before = publish(undefined, stateOf(first)).state;
        // Two unrelated inputs share little: mostly compare with one that differs in the configuration only.
        const target = mixed
          ? { ...first, config: Object.fromEntries(Object.entries(first.config).slice(1)), labels: second.labels }
          : second;
        const fresh = stateOf(target);
        const { state, change } = publish(before, fresh);
        assert.deepEqual(new Map(state.services), new Map(fresh.services));
        assert.deepEqual({ ...state, services: 0 }, { ...fresh, services: 0 });
        for (const part of ['nodes', 'services', 'virtualServices', 'virtualServicesOf', 'mtu'] as const) {
          sharesAllThatIsEqual<unknown>(before[part], state[part]);
        }
        if (change.all) return;
        assert.equal(state.addresses, before.addresses);
        assert.equal(state.nodes, before.nodes);
        for (const key of new Set([...before.virtualServices.keys(), ...state.virtualServices.keys()])) {
          const old = before.virtualServices.get(key);
          const now = state.virtualServices.get(key);
          const same = old !== undefined && old === now && before.services.get(old.service) === state.services.get(now.service);
          assert.equal(change.virtualServices.has(key), !same, key);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('a history of Service changes ends where a full rebuild does, and names the same virtual services', () => {
    const service = fc.tuple(fc.nat(5), fc.array(endpoint, { maxLength: 3 }), fc.boolean());
    fc.assert(
      fc.property(input, fc.array(service, { maxLength: 12 }), (value, history) => {
        let applied = publish(undefined, stateOf(value)).state;
        let rebuilt = applied;
        for (const [index, endpoints, deleted] of history) {
          const target = value.services[index % value.services.length] ?? assert.fail();
          const key = `${target.namespace}/${target.name}`;
          const old = applied.services.get(key);
          const change: ClusterService | { deleted: string } =
            deleted && old !== undefined
              ? { deleted: key }
              : {
                  ...{ namespace: target.namespace, name: target.name, ports: old?.ports ?? [] },
                  endpoints: endpoints.map(({ address, port, node, ready = true, terminating = false }) => ({
                    ...{ address, port, portName: '', node, ready, terminating },
                  })),
                };
          const services = new Map(rebuilt.services);
          if ('deleted' in change) services.delete(key);
          else services.set(key, change);
          const incremental = applyServiceChange(applied, change);
          const full = publish(rebuilt, { ...rebuilt, services: structuredClone(services) });
          assert.deepEqual(incremental.state, full.state);
          assert.deepEqual(incremental.change, full.change);
          applied = incremental.state;
          rebuilt = full.state;
        }
      }),
      { numRuns: 500 },
    );
  });

  test('the persistent map behaves as a map, and old versions stay as they were', () => {
    const operation = fc.tuple(fc.nat(20).map(String), fc.option(fc.integer(), { nil: undefined }));
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        let map = PersistentMap.from<number>([]);
        const model = new Map<string, number>();
        const versions: [PersistentMap<number>, Map<string, number>][] = [];
        for (const [key, value] of operations) {
          if (value === undefined) {
            map = map.without(key);
            model.delete(key);
          } else {
            map = map.with(key, value);
            model.set(key, value);
          }
          versions.push([map, new Map(model)]);
        }
        for (const [version, expected] of versions) {
          assert.equal(version.size, expected.size);
          assert.deepEqual(new Map(version), expected);
          for (let key = 0; key <= 20; key++) assert.equal(version.get(String(key)), expected.get(String(key)));
        }
      }),
      { numRuns: 300 },
    );
  });
});
