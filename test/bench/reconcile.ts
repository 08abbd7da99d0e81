/**
 * The whole agent but for its source, as realserver with 10,000 services of 2 pods: publication in, acknowledged by the
 * kernel's nftables out. The host's own kernel, in a network namespace made for it; devices are a stand-in, because
 * this is about rules and not every host has dummy devices.
 */
import { SysctlJournal } from '../../src/drivers/journal.ts';
import type { Kernel } from '../../src/drivers/kernel.ts';
import type { ClusterService, ClusterState } from '../../src/model/cluster.ts';
import { applyServiceChange } from '../../src/model/publish.ts';
import { PersistentMap } from '../../src/model/persistent-map.ts';
import { compositions } from '../../src/modes/run.ts';
import { Netns, Nftables } from '../../src/native/index.ts';
import { silentLog } from '../../src/observe/log.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { ReconcileLoop } from '../../src/reconcile/loop.ts';
import type { PassOutcome } from '../../src/reconcile/plane.ts';
import { cluster, whole } from '../fake-kernel/cluster.ts';
import { defaultOptions, freshKernel } from '../fake-kernel/rig.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { median, percentile, round, type BenchRow } from './row.ts';

const serviceCount = 10_000;
const changes = 1000;
const warmUp = 100;

function bigState(): ClusterState {
  const names = Array.from({ length: serviceCount }, (_, index) => `s${index}`);
  const small = cluster({
    pods: Object.fromEntries(names.map((name) => [name, ['n1', 'n1']])),
    // 100 VIPs of 100 ports: this is about rules, and the stand-in for devices is slow with many addresses.
    vips: names.map((name, index) => [`10.50.0.${index % 100}`, 1000 + Math.floor(index / 100), name] as const),
    nodes: ['n1'],
  });
  // Every pod has an address of its own, as in a real cluster.
  const services = [...small.services].map(([key, service], index): [string, ClusterService] => [
    key,
    {
      ...service,
      endpoints: service.endpoints.map((endpoint, pod) => ({ ...endpoint, address: podAddress(index, pod) })),
    },
  ]);
  return { ...small, services: PersistentMap.from(services), virtualServices: PersistentMap.from(small.virtualServices) };
}

const podAddress = (service: number, pod: number): string => `10.${100 + pod}.${service >> 8}.${service & 255}`;

/** One pod of the service moves to another address and back: the change that rollouts are made of. */
function moved(state: ClusterState, index: number): ClusterService {
  const service = state.services.get(`default/s${index}`)!;
  const [first, second] = service.endpoints;
  const address = second?.address === podAddress(index, 1) ? podAddress(index, 7) : podAddress(index, 1);
  return { ...service, endpoints: [first!, { ...second!, address }] };
}

interface Running {
  readonly loop: ReconcileLoop;
  /** Resolves with the next pass. */
  next(): Promise<{ outcome: PassOutcome; milliseconds: number }>;
  stop(): Promise<void>;
}

function start(nftables: Nftables, links: Kernel['links'], sysctls: Kernel['sysctls'], folder: string): Running {
  const stop = new AbortController();
  const fake = freshKernel();
  const kernel: Kernel = { ...fake.ports, nftables, links, sysctls };
  const parts = { kernel, journal: new SysctlJournal(folder, '1', 'boot'), clock: systemClock, random: Math.random, log: silentLog };
  const composition = compositions.realserver({ ...defaultOptions, mode: 'realserver' }, parts);
  let notify: (result: { outcome: PassOutcome; milliseconds: number }) => void = () => {};
  const loop = new ReconcileLoop({
    ...{ plane: composition.plane, clock: systemClock, random: Math.random, log: silentLog, auditMilliseconds: 3_600_000 },
    onPass: (outcome, milliseconds) => notify({ outcome, milliseconds }),
  });
  const listeners = composition
    .listeners({ doubt: (cause) => loop.doubt(cause), vipsChanged: () => {}, renew: () => loop.renew() })
    .map((listen) => listen(stop.signal));
  const done = Promise.all([...listeners, loop.run(stop.signal)]);
  return {
    loop,
    next: () => new Promise((resolve) => (notify = resolve)),
    stop: async () => {
      stop.abort();
      await done;
    },
  };
}

/** Publishes a whole state; milliseconds until the kernel holds it, and what that took. */
async function fullPass(running: Running, state: ClusterState): Promise<{ milliseconds: number; outcome: PassOutcome }> {
  const next = running.next();
  const began = performance.now();
  running.loop.publish(whole(state));
  const { outcome } = await next;
  if (outcome.failures.length > 0) throw new Error(outcome.failures.map(({ message }) => message).join('\n'));
  return { milliseconds: performance.now() - began, outcome };
}

async function singleChanges(running: Running, first: ClusterState): Promise<{ samples: number[]; full: number }> {
  let state = first;
  let full = 0;
  const samples: number[] = [];
  for (let count = 0; count < warmUp + changes; count += 1) {
    const service = moved(state, (count * 7919) % serviceCount);
    const next = running.next();
    const began = performance.now();
    const publication = applyServiceChange(state, service);
    running.loop.publish(publication);
    const { outcome } = await next;
    if (count >= warmUp) samples.push(performance.now() - began);
    if (outcome.failures.length > 0) throw new Error(outcome.failures[0]?.message);
    if (outcome.written === 0) throw new Error('a change that wrote nothing');
    if (outcome.full) full += 1;
    state = publication.state;
    // Changes come one by one; whatever the last one left behind has its turn.
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  return { samples, full };
}

export async function runReconcileBench(): Promise<BenchRow[]> {
  const netns = await Netns.create();
  const { links, sysctls } = freshKernel();
  const folder = temporaryDirectory('bench');
  const open = (): Promise<Nftables> => Nftables.open({ netns });
  try {
    const state = bigState();
    let nftables = await open();
    let running = start(nftables, links, sysctls, folder);
    const cold = await fullPass(running, state);
    await running.stop();
    await nftables.close();

    nftables = await open();
    running = start(nftables, links, sysctls, folder);
    const restart = await fullPass(running, state);
    const { samples, full } = await singleChanges(running, state);
    await running.stop();
    await nftables.close();
    const p99 = round(percentile(samples, 0.99));
    return [
      {
        ...{
          name: `one endpoint changed at ${serviceCount} services x 2, publication to kernel ACK, p99 of ${changes}`,
          value: p99,
          unit: 'ms',
        },
        ...{ peer: 'best published peer', peerValue: 141, ratio: round(141 / p99), goal: '<= 5 ms', met: p99 <= 5 && full === 0 },
      },
      {
        ...{ name: 'the same, median', value: round(median(samples)), unit: 'ms', peer: 'none: as above', peerValue: null, ratio: null },
        ...{ goal: 'for information', met: true },
      },
      {
        ...{
          name: `cold start of a realserver, ${serviceCount} services x 2, first publication to last ACK`,
          value: round(cold.milliseconds, 0),
          unit: 'ms',
        },
        ...{
          peer: 'best published peer',
          peerValue: 40_000,
          ratio: round(40_000 / cold.milliseconds),
          goal: '<= 1000 ms',
          met: cold.milliseconds <= 1000,
        },
      },
      {
        ...{
          name: `restart of a realserver with nothing changed, ${serviceCount} services x 2`,
          value: restart.outcome.written,
          unit: 'kernel writes',
        },
        ...{ peer: `none; it took ${Math.round(restart.milliseconds)} ms`, peerValue: null, ratio: null },
        ...{ goal: '0 writes', met: restart.outcome.written === 0 },
      },
    ];
  } finally {
    await netns.close();
  }
}
