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
import { LabProcess } from '../../lab/process.ts';
import { program } from '../../lab/programs.ts';
import { slope, Table, type Sample } from '../lab/table.ts';

const SECONDS = Number(process.env['RAVEL_E2E_CHURN'] ?? 1200);
const PER_SECOND = 10;
/**
 * A process grows until every object has been replaced, and until its heap has found the size at which it is collected, whatever the pace of
 * changes. So the warm-up is told in changes. What goes on growing after it is compiled code, which is told apart.
 */
const WARM_UP = { changes: 60_000, perSecond: 100 };
const EVERY_MS = 2000;
/** Between two full collections: often enough for a line, too seldom to do the collector's work for it. */
const COLLECT_EVERY_MS = 20_000;
const population: Population = { namespace: 'churn', services: 1000, endpoints: 10, nodes: 100, local: 'n1' };
const names = ['director', 'n1'] as const;

/** A line of test/lab/programs/collected-memory.ts. */
interface Collected {
  readonly milliseconds: number;
  readonly resident: number;
  readonly anonymous: number;
  readonly code: number;
  readonly data: number;
  readonly malloc: number;
  readonly buffers: number;
  readonly free: number;
  readonly stacks: number;
  readonly held: number;
}

/** First, least and most, last. */
function span(samples: readonly Collected[], figure: 'anonymous' | 'resident'): string {
  const values = samples.map((line) => line[figure]);
  return `${values.at(0) ?? 0} at first, ${Math.min(...values)} to ${Math.max(...values)}, ${values.at(-1) ?? 0} at last`;
}

/**
 * Where the kernel puts huge pages wherever they fit (Debian's setting), a thread's stack of some KiB is resident with 2 MiB,
 * and khugepaged makes more of them whenever it comes by: steps that are the kernel's, in the figures of the agent. The
 * setting is inherited (PR_SET_THP_DISABLE of linux/prctl.h).
 */
const WITHOUT_HUGE_PAGES = [
  'python3',
  '-c',
  'import ctypes, os, sys; assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0; os.execvp(sys.argv[1], sys.argv[1:])',
];

const table = new Table('churn');
let scene: Scene;

before(async () => {
  scene = await Scene.create();
  await scene.host.command({ op: 'populate', population });
  await scene.cluster.putConfigMap(NAMESPACE, CONFIG_NAME, { [CONFIG_KEY]: JSON.stringify({ config: configOf(population) }) });
  for (const name of names) scene.agents[name].start(WITHOUT_HUGE_PAGES);
  for (const name of names) await scene.agents[name].settled();
});

after(async () => {
  await scene.close();
  await scene.host.api.delete(`/api/v1/namespaces/${population.namespace}`);
});

test('memory under a churn of endpoints', async () => {
  const writtenBefore = (await scene.agents.director.document())?.loop.written ?? 0;
  const highest: Record<(typeof names)[number], number> = { director: 0, n1: 0 };
  const look = (): void => {
    for (const name of names) highest[name] = Math.max(highest[name], scene.agents[name].residentMebibytes());
  };
  const looking = async (milliseconds: number): Promise<void> => {
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      look();
      await wait(EVERY_MS);
    }
  };
  await scene.host.command({ op: 'start-churn', population, perSecond: WARM_UP.perSecond });
  // Memory as an operator sees it, the collector left alone; afterwards what is left when it has been.
  await looking((WARM_UP.changes / WARM_UP.perSecond) * 1000);
  const warm = (await scene.host.command({ op: 'stop-churn' })) as { changes: number; failures: number };
  assert.equal(warm.failures, 0);
  assert.ok(warm.changes > WARM_UP.changes / 2, `${warm.changes} changes`);
  await scene.host.command({ op: 'start-churn', population, perSecond: PER_SECOND });
  const meters = names.map((name) => {
    const { namespace, process: agent } = scene.agents[name];
    const words = [process.execPath, program('collected-memory'), `${agent.child.pid ?? 0}`, `${COLLECT_EVERY_MS}`];
    return { name, meter: new LabProcess(namespace, `memory-${name}`, words) };
  });
  await looking(SECONDS * 1000);
  const { changes, failures } = (await scene.host.command({ op: 'stop-churn' })) as { changes: number; failures: number };
  for (const { name, meter } of meters) {
    assert.equal(meter.exit, undefined);
    const lines = meter.takeLines().map((line) => JSON.parse(line) as Collected);
    await meter.stop();
    table.keep(`memory-${name}`, lines);
    // The inspector itself takes a moment to settle.
    const samples = lines.slice(3);
    const perHour = (figure: Exclude<keyof Collected, 'milliseconds'>): number =>
      slope(samples.map((line): Sample => ({ seconds: line.milliseconds / 1000, value: line[figure] }))) * 3600;
    table.add({
      name: `memory of the agent on ${name} under ${PER_SECOND} changes/s, ${SECONDS} s`,
      goal: '<= 150 MiB, < 1 MiB/h after warm-up',
      measured: `${highest[name].toFixed(1)} MiB at most, ${perHour('held').toFixed(2)} MiB/h`,
      met: highest[name] <= 150 && perHour('held') < 1,
      note:
        `held after ${samples.length} full collections, least squares, ${samples.at(0)?.held ?? 0} to ${samples.at(-1)?.held ?? 0} MiB: ` +
        `live objects ${perHour('data').toFixed(2)} MiB/h, malloc ${perHour('malloc').toFixed(2)}, array buffers ${perHour('buffers').toFixed(2)} of it, ` +
        `stacks ${perHour('stacks').toFixed(2)}. Not held: compiled code (${perHour('code').toFixed(2)} MiB/h), what malloc keeps that nobody uses ` +
        `(${perHour('free').toFixed(2)} MiB/h), and pages of JavaScript's heap that are free in part, which come in steps: anonymous memory ` +
        `${span(samples, 'anonymous')} MiB, resident with pages of the program's file ${span(samples, 'resident')} MiB. ${changes} changes, after ${warm.changes} to warm up`,
    });
    assert.ok(samples.length > 3 && Number.isFinite(perHour('held')));
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
