/**
 * Whatever an API server does to its client: in the end the client knows what a new one would, and on the way it never
 * believes that something is gone because something failed. FC_RUNS sets the number of scripts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { resources } from '../../src/kubernetes/api.ts';
import type { ClusterState, Publication } from '../../src/model/cluster.ts';
import { FakeApi } from '../fake-api/api.ts';
import { microtasks, SourceRig } from '../fake-api/rig.ts';
import { FakeClock, seededRandom } from '../fake-kernel/fake-clock.ts';
import { heal, perform, populate, script, serviceNames, type Command } from './kubernetes-world.ts';

const runs = Number(process.env['FC_RUNS'] ?? '10000');

/** A state as it is compared: maps as sorted lists, without revisions, which say when and not what. */
function picture({ services, confirmed, nodes, ...rest }: ClusterState): unknown {
  const sorted = <Value>(map: ReadonlyMap<string, Value>): [string, Value][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  const { addresses, mtu, nodeLabels, virtualServices } = rest;
  return {
    ...{ addresses, nodeLabels, mtu: sorted(mtu), virtualServices: sorted(virtualServices) },
    nodes: sorted(nodes),
    confirmed: confirmed === undefined ? undefined : sorted(confirmed),
    services: sorted(services).map(([key, { revision: _revision, ...service }]) => [key, service]),
  };
}

/** The endpoints of a Service straight from the objects, without any of the code under test. */
function addressesInStore(api: FakeApi, name: string): string[] {
  const slices = api.objects(resources.endpointSlices).filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === name);
  const endpoints = slices.flatMap((slice) => slice['endpoints'] as { addresses: string[] }[]);
  return [...new Set(endpoints.map(({ addresses }) => addresses[0] ?? ''))].sort();
}

function touchedBy(commands: readonly Command[]): ReadonlySet<string> {
  return new Set(
    commands.flatMap((command) => {
      if (command.do === 'slice' && command.how === 'stray') return serviceNames.slice(1);
      return command.do === 'service' || command.do === 'slice' || command.do === 'removeSlice' ? [serviceNames[command.index] ?? ''] : [];
    }),
  );
}

/** Nothing that was there all the time is missing. */
function assertWhole({ state }: Publication, untouched: readonly string[], director: boolean): void {
  for (const name of untouched) {
    const service = state.services.get(`default/${name}`);
    assert.equal(service?.endpoints.length, 4, `default/${name} lacks endpoints`);
  }
  assert.ok(state.virtualServices.has('tcp 192.0.2.1:80'), 'the VIP that every good configuration has');
  if (!director) return;
  assert.ok(state.nodes.get('keep')?.ready, 'node keep');
  if (state.confirmed !== undefined && state.confirmed.size > 0) assert.equal(state.confirmed.get('keep'), 100);
}

/** No kind of object is asked for more often than this in a minute, whatever the server does. */
const mostPerMinute = 60;

function assertBounded({ received }: FakeApi): void {
  const times = new Map<string, number[]>();
  for (const { resource, at } of received) {
    const list = times.get(resource) ?? [];
    times.set(resource, list);
    list.push(at);
    const inLastMinute = list.filter((time) => time > at - 60_000).length;
    assert.ok(inLastMinute <= mostPerMinute, `${inLastMinute} requests for ${resource} in a minute`);
  }
}

interface Outcome {
  readonly lists: number;
  readonly watches: number;
  readonly troubles: number;
}

async function follow(commands: readonly Command[], mode: 'director' | 'realserver', seed: number): Promise<Outcome> {
  const clock = new FakeClock(microtasks);
  const api = new FakeApi(clock);
  populate(api);
  const touched = touchedBy(commands);
  const untouched = serviceNames.filter((name) => !touched.has(name));
  const broken: unknown[] = [];
  const rig = new SourceRig({
    ...{ clock, api, mode, random: seededRandom(seed) },
    onPublication: (publication) => {
      try {
        assertWhole(publication, untouched, mode === 'director');
      } catch (error) {
        broken.push(error);
      }
    },
  });
  // Half of them begin with a source that has just started, half with one that has all.
  if (seed % 2 === 0) await clock.advance(1000);
  for (const command of commands) {
    perform(api, command);
    if (command.do === 'advance') await clock.advance(command.milliseconds);
  }
  heal(api, seed >> 1);
  // The longest of what may still be under way: Retry-After 60 s, a silent connection 90 s, a delay 30 s, each once.
  await clock.advance(300_000);
  if (rig.failure !== undefined) throw rig.failure as Error;
  const [first] = broken;
  if (first !== undefined) throw first as Error;

  const fresh = new SourceRig({ clock, api: new FakeApi(clock, api.store), mode });
  await clock.advance(1000);
  assert.ok(rig.last !== undefined && fresh.last !== undefined, 'both have published');
  assert.deepEqual(picture(rig.last.state), picture(fresh.last.state));
  for (const name of serviceNames) {
    const there = api.store.get(resources.services, `default/${name}`) !== undefined;
    const known: string[] | undefined = rig.last.state.services.get(`default/${name}`)?.endpoints.map(({ address }) => address);
    assert.deepEqual(known, there ? addressesInStore(api, name) : undefined);
  }
  // A realserver confirms revisions: it has to know the newest one.
  if (mode === 'realserver') assert.equal(rig.last.state.revision, api.store.revision);
  const status = rig.source.status();
  for (const { error, resource, state } of status) assert.equal(error === null ? state : error, 'watching', resource);
  assert.ok(api.mostWatches <= (mode === 'director' ? 5 : 3), `${api.mostWatches} watches at a time`);
  assertBounded(api);

  await fresh.stop();
  await rig.stop();
  assert.equal(api.watches.size, 0, 'no watch is left open');
  assert.equal(clock.timers, 0, 'no timer is left');
  const sum = (pick: (one: (typeof status)[number]) => number): number => status.reduce((total, one) => total + pick(one), 0);
  return { lists: sum(({ lists }) => lists), watches: sum(({ watches }) => watches), troubles: rig.troubles.length };
}

test(`${runs} random scripts of changes and faults end in what a fresh list says`, async (context) => {
  let passed = 0;
  const total = { lists: 0, watches: 0, troubles: 0 };
  await fc.assert(
    fc.asyncProperty(script, fc.constantFrom('director' as const, 'realserver' as const), fc.nat(1000), async (commands, mode, seed) => {
      const outcome = await follow(commands, mode, seed);
      passed += 1;
      total.lists += outcome.lists;
      total.watches += outcome.watches;
      total.troubles += outcome.troubles;
    }),
    { numRuns: runs },
  );
  context.diagnostic(
    `${passed} of ${runs} scripts; ${total.lists} lists, ${total.watches} watches, ${total.troubles} troubles begun or ended`,
  );
  // A script that disturbs nothing would prove nothing.
  assert.ok(total.troubles > 3 * runs && total.watches > 8 * runs);
});
