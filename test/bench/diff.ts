/**
 * The comparison alone: 10,000 virtual services with 10 destinations each against columns that say
 * the same, and once more with one destination changed. No kernel is involved.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as pause, setTimeout } from 'node:timers/promises';
import type { DesiredIpvsService } from '../../src/desired/types.ts';
import type { IpvsPlan } from '../../src/diff/ipvs.ts';
import { sliceMilliseconds } from '../../src/drivers/ipvs.ts';
import { ipvsDiffSteps } from '../../src/diff/ipvs.ts';
import { runSliced } from '../../src/model/slices.ts';
import { NO_STATISTICS, snapshotFromObjects } from '../../src/native/ipvs-columns.ts';
import type { IpvsSnapshot } from '../../src/native/ipvs-types.ts';
import type { BenchRow } from './row.ts';
import { median, round } from './row.ts';

const SERVICES = 10_000;
const DESTINATIONS = 10;
/** Enough that the 99th percentile of the delays is not their maximum. */
const ROUNDS = 60;
function desiredServices(): Map<string, DesiredIpvsService> {
  const services = new Map<string, DesiredIpvsService>();
  for (let i = 0; i < SERVICES; i++) {
    const address = `192.0.${(i >> 8) & 255}.${i & 255}`;
    const destinations = Array.from({ length: DESTINATIONS }, (_, k) => ({
      id: { address: `10.20.${k}.${i % 250}`, port: 80 },
      spec: { forward: 'direct' as const, weight: k % 4, upperThreshold: 0, lowerThreshold: 0 },
    }));
    const key = `tcp ${address}:80`;
    services.set(key, { key, id: { protocol: 'tcp', address, port: 80 }, spec: { scheduler: 'wrr', schedulerFlags: [] }, destinations });
  }
  return services;
}

/** Columns as the kernel would answer them: it lists the newest destination first. */
function observedColumns(services: Iterable<DesiredIpvsService>): IpvsSnapshot {
  return snapshotFromObjects(
    [...services].map(({ id, spec, destinations }) => ({
      id,
      spec,
      statistics: NO_STATISTICS,
      destinations: destinations.toReversed().map((destination) => ({
        ...destination,
        activeConnections: 0,
        inactiveConnections: 0,
        persistentConnections: 0,
        statistics: NO_STATISTICS,
      })),
    })),
  );
}

async function measure(desired: ReadonlyMap<string, DesiredIpvsService>, observed: IpvsSnapshot) {
  const ownership = { configured: (key: string) => desired.has(key), placed: () => true, vip: () => true };
  const durations: number[] = [];
  // Resolution 1 ms: an idle loop shows about 1 ms, so the figure is an upper bound.
  const delay = monitorEventLoopDelay({ resolution: 1 });
  let plan: IpvsPlan | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    if (round === 1) delay.enable();
    const started = performance.now();
    plan = await runSliced(ipvsDiffSteps({ desired, observed, ownership }), {
      budget: sliceMilliseconds,
      now: () => performance.now(),
      pause,
    });
    durations.push(performance.now() - started);
  }
  delay.disable();
  // The first round compiles the code; it is measured apart, since an agent's first pass pays it too.
  const [cold = Number.NaN, ...warm] = durations;
  return { cold, warm: median(warm), delayP99: delay.percentile(99) / 1e6, operations: plan?.operations.length ?? Number.NaN };
}

/** The same figure of a loop that does nothing: what the machine's other work costs. Milliseconds. */
async function idleDelay(): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await setTimeout(500);
  delay.disable();
  return delay.percentile(99) / 1e6;
}

export async function runDiffBench(): Promise<BenchRow[]> {
  const desired = desiredServices();
  const idle = await idleDelay();
  const same = await measure(desired, observedColumns(desired.values()));
  const changed = new Map(desired);
  const [first] = desired.values();
  if (first === undefined) throw new Error('no service to change');
  const [destination, ...others] = first.destinations;
  if (destination === undefined) throw new Error('no destination to change');
  const heavier = { ...destination, spec: { ...destination.spec, weight: destination.spec.weight + 1 } };
  changed.set(first.key, { ...first, destinations: [heavier, ...others] });
  const one = await measure(changed, observedColumns(desired.values()));
  const scale = `${SERVICES} services x ${DESTINATIONS} destinations`;
  const row = (name: string, value: number, unit: string, goal: string, met: boolean): BenchRow => ({
    name,
    value: round(value),
    unit,
    peer: 'none: no tool compares without writing',
    peerValue: null,
    ratio: null,
    goal,
    met,
  });
  return [
    row(`diff, nothing to do, ${scale}: writes`, same.operations, 'operations', '0', same.operations === 0),
    row(`diff, nothing to do, ${scale}: first pass`, same.cold, 'ms', '<= 250', same.cold <= 250),
    row(`diff, nothing to do, ${scale}: median`, same.warm, 'ms', '<= 250', same.warm <= 250),
    {
      ...row(`diff, nothing to do, ${scale}: event-loop delay p99`, same.delayP99, 'ms', '<= 20', same.delayP99 <= 20),
      ...{ peer: 'an idle event loop, just before', peerValue: round(idle), ratio: round(idle / same.delayP99) },
    },
    row(`diff, 1 destination changed, ${scale}: writes`, one.operations, 'operations', '1', one.operations === 1),
    row(`diff, 1 destination changed, ${scale}: median`, one.warm, 'ms', '<= 250', one.warm <= 250),
  ];
}
