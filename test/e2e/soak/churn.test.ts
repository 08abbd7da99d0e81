/**
 * A director and a realserver with 1,000 services, endpoints changing all the time: whether their memory grows. Prints the
 * slope; `make soak` runs it.  RAVEL_E2E_CHURN: seconds that are measured, after the warm-up
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { configOf, vipOf, type Population } from '../harness/populate.ts';
import { CONFIG_KEY, CONFIG_NAME, NAMESPACE } from '../lab/chart.ts';
import { Scene } from '../lab/scene.ts';
import { slope, Table, type Sample } from '../lab/table.ts';

const SECONDS = Number(process.env['RAVEL_E2E_CHURN'] ?? 1200);
const PER_SECOND = 10;
/**
 * A process grows until every object has been replaced and every path compiled, and until its heap has found the size at
 * which it is collected: some 22,000 changes with this many services, whatever their pace. So the warm-up is told in changes.
 */
const WARM_UP = { changes: 30_000, perSecond: 60 };
const EVERY_MS = 2000;
const population: Population = { namespace: 'churn', services: 1000, endpoints: 10, nodes: 100, local: 'n1' };
const names = ['director', 'n1'] as const;

const table = new Table('churn');
let scene: Scene;

before(async () => {
  scene = await Scene.create();
  await scene.host.command({ op: 'populate', population });
  await scene.cluster.putConfigMap(NAMESPACE, CONFIG_NAME, { [CONFIG_KEY]: JSON.stringify({ config: configOf(population) }) });
  for (const name of names) scene.agents[name].start();
  for (const name of names) await scene.agents[name].settled();
});

after(async () => {
  await scene.close();
  await scene.host.api.delete(`/api/v1/namespaces/${population.namespace}`);
});

test('memory under a churn of endpoints', async () => {
  const writtenBefore = (await scene.agents.director.document())?.loop.written ?? 0;
  await scene.host.command({ op: 'start-churn', population, perSecond: WARM_UP.perSecond });
  await wait((WARM_UP.changes / WARM_UP.perSecond) * 1000);
  const warm = (await scene.host.command({ op: 'stop-churn' })) as { changes: number; failures: number };
  assert.equal(warm.failures, 0);
  assert.ok(warm.changes > WARM_UP.changes / 2, `${warm.changes} changes`);
  await scene.host.command({ op: 'start-churn', population, perSecond: PER_SECOND });
  const samples: Record<(typeof names)[number], Sample[]> = { director: [], n1: [] };
  const began = performance.now();
  for (let seconds = 0; seconds < SECONDS; seconds = (performance.now() - began) / 1000) {
    for (const name of names) samples[name].push({ seconds, value: scene.agents[name].residentMebibytes() });
    await wait(EVERY_MS);
  }
  const { changes, failures } = (await scene.host.command({ op: 'stop-churn' })) as { changes: number; failures: number };
  for (const name of names) {
    const values = samples[name].map(({ value }) => value);
    const perHour = slope(samples[name]) * 3600;
    const most = Math.max(...values);
    table.add({
      name: `memory of the agent on ${name} under ${PER_SECOND} changes/s, ${SECONDS} s`,
      goal: '<= 150 MiB, < 1 MiB/h after warm-up',
      measured: `${Math.min(...values).toFixed(1)} to ${most.toFixed(1)} MiB, ${perHour.toFixed(2)} MiB/h`,
      met: most <= 150 && perHour < 1,
      note: `least squares over ${values.length} samples and ${changes} changes, after ${warm.changes} changes to warm up`,
    });
    assert.ok(values.length > 1 && Number.isFinite(perHour));
  }
  // That the agents had something to do, and did it.
  assert.equal(failures, 0);
  assert.ok(changes > (SECONDS * PER_SECOND) / 2, `${changes} changes`);
  const written = ((await scene.agents.director.document())?.loop.written ?? 0) - writtenBefore;
  assert.ok(written > changes / 4, `${written} writes for ${changes} changes`);
  const { address, port } = vipOf(0);
  assert.equal(Object.keys(await scene.weights(address, port)).length, population.endpoints);
  for (const name of names) assert.equal(scene.agents[name].process.exit, undefined);
});
