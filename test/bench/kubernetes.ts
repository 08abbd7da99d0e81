/**
 * The released agent on an API server over HTTPS on the loopback, 1,000 Services of ten pods on 100 nodes: memory, the time
 * from a change in the API to the kernel's nftables, and what it costs the server. Beside it, in the same run and on the same server,
 * the client library's informers. Runs in a network namespace of its own (test/bench/run.ts).
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { build } from 'esbuild';
import { bundleOptions } from '../../scripts/bundle-options.ts';
import { resources } from '../../src/kubernetes/api.ts';
import { toElements } from '../../src/native/nftables-columns.ts';
import { Nftables } from '../../src/native/index.ts';
import type { FakeServer } from '../fake-api/server.ts';
import { ENDPOINTS, TABLE } from '../netns/nftables-support.ts';
import { configNamespace, podAddress, podsOn, serviceCount, slice } from './kubernetes-cluster.ts';
import { end, idleMilliseconds, root, startAgent, until, withServer, type Rig } from './kubernetes-rig.ts';
import { residentMemory } from './process-memory.ts';
import { percentile, round, type BenchRow } from './row.ts';

const samples = 500;
const warmUp = 50;
const local = podsOn(0);

interface Change {
  readonly revision: number;
  readonly began: number;
}

/** A program under measurement. */
interface Subject {
  readonly process: ChildProcess;
  /** Resolves once the change has arrived where it is looked for. */
  arrived(change: Change): Promise<void>;
}

/** Moves one pod of our node to another address; every one of them in turn. */
function change(server: FakeServer, count: number): Change {
  const { service, endpoint } = local[count % local.length]!;
  const generation = 1 + Math.floor(count / local.length);
  const began = performance.now();
  const { metadata } = server.api.store.put(resources.endpointSlices, slice(service, { endpoint, generation }));
  return { revision: Number(metadata.resourceVersion), began };
}

async function latencies(server: FakeServer, subject: Subject): Promise<number[]> {
  const times: number[] = [];
  for (let count = 0; count < warmUp + samples; count += 1) {
    const made = change(server, count);
    await Promise.race([
      subject.arrived(made),
      wait(10_000).then(() => {
        throw new Error(`change ${count} was not seen within 10 s`);
      }),
    ]);
    if (count >= warmUp) times.push(performance.now() - made.began);
    // One by one, and not in step with any timer of the other side.
    await wait(20 + (count % 17));
  }
  return times;
}

/** This kernel may have no dummy devices: the VIPs are on a bridge that is lent to the agent. */
function prepareNamespace(): void {
  const ip = (words: string): void => void execFileSync('ip', words.split(' '));
  ip('link set lo up');
  ip('link add segment0 type veth peer name segment1');
  ip('link add vip0 type bridge');
  for (const name of ['segment0', 'segment1', 'vip0']) ip(`link set ${name} up`);
}

interface Figures {
  readonly resident: number;
  readonly peak: number;
  /** Process start until everything has arrived, ms. */
  readonly start: number;
  readonly times: readonly number[];
  readonly watches: number;
}

async function measure(server: FakeServer, subject: Subject, started: number): Promise<Figures> {
  const start = performance.now() - started;
  await wait(idleMilliseconds);
  const { resident, peak } = residentMemory(subject.process.pid ?? 0);
  const watches = server.api.watches.size;
  return { resident, peak, start, watches, times: await latencies(server, subject) };
}

async function podsInKernel(nftables: Nftables): Promise<string[]> {
  const columns = await nftables.elements(TABLE, ENDPOINTS.name).catch(() => undefined);
  return columns === undefined ? [] : toElements(ENDPOINTS, columns).map(({ value }) => String(Array.isArray(value) ? value[0] : value));
}

/** A commit counts when the kernel tells of it; that all of them said the right thing is held at the end. */
async function measureAgent(rig: Rig): Promise<Figures> {
  const nftables = await Nftables.open();
  const stop = new AbortController();
  let committed = (): void => {};
  const watching = (async () => {
    for await (const event of nftables.watch({ signal: stop.signal }))
      if (event.type === 'change' && event.message === 'newgen') committed();
  })();
  const started = performance.now();
  const agent = startAgent('realserver', rig);
  try {
    await until('the first pass is in the kernel', agent, async () => (await podsInKernel(nftables)).length === local.length);
    const arrived = (): Promise<void> => new Promise((resolve) => (committed = resolve));
    const figures = await measure(rig.server, { process: agent, arrived }, started);
    const last = warmUp + samples - 1;
    const expected = local.map(({ service, endpoint }, index) =>
      podAddress(service, endpoint, 1 + Math.floor((last - ((last - index) % local.length)) / local.length)),
    );
    await until(
      'all changes are in the kernel',
      agent,
      async () => (await podsInKernel(nftables)).sort().join() === [...expected].sort().join(),
    );
    return figures;
  } finally {
    await end(agent);
    stop.abort();
    await watching;
    await nftables.close();
  }
}

async function measureInformers({ server, kubeconfig }: Rig): Promise<Figures> {
  // Bundled and minified as the agent is, but whole: the comparison is about informers, not about the loading of small files.
  const entryPoints = [join(root, 'test/bench/informer.ts')];
  await build({
    ...bundleOptions,
    entryPoints,
    outdir: join(root, 'build/bench'),
    outExtension: { '.js': '.mjs' },
    minify: true,
    plugins: [],
  });
  // What its dependencies use is deprecated; that is not what is measured.
  const quiet = ['--disable-warning=DEP0040', '--disable-warning=DEP0169'];
  const started = performance.now();
  const objects = String(2 * serviceCount + 1);
  const peer = spawn(process.execPath, [...quiet, join(root, 'build/bench/informer.mjs'), kubeconfig, configNamespace, objects], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let synced = false;
  let seen = 0;
  let notify = (): void => {};
  createInterface({ input: peer.stdout }).on('line', (line) => {
    if (line === 'synced') synced = true;
    else seen = Number(line);
    notify();
  });
  try {
    await until('the informers have everything', peer, () => synced);
    const arrived = async ({ revision }: Change): Promise<void> => {
      while (seen < revision) await new Promise<void>((resolve) => (notify = resolve));
    };
    return await measure(server, { process: peer, arrived }, started);
  } finally {
    await end(peer);
  }
}

/** Without ip_vs a director programs nothing, and says so at length; but what it follows is the same. */
async function watchesOfDirector(rig: Rig): Promise<number> {
  const director = startAgent('director', rig, 'ignore');
  try {
    await until('the director follows its leases', director, () =>
      [...rig.server.api.watches].some(({ resource }) => resource === 'leases'),
    );
    await wait(2000);
    return rig.server.api.watches.size;
  } finally {
    await end(director);
  }
}

function rowsOf(ours: Figures, peer: Figures, directorWatches: number): BenchRow[] {
  const informers = 'informers of @kubernetes/client-node';
  const callback = `${informers}: callback only, no kernel`;
  const size = `${serviceCount.toLocaleString('en-US')} services x 10`;
  const latency = (name: string, share: number, goal: number): BenchRow => {
    const [value, peerValue] = [percentile(ours.times, share), percentile(peer.times, share)];
    const figures = { value: round(value), unit: 'ms', peer: callback, peerValue: round(peerValue), ratio: round(peerValue / value) };
    return {
      name: `endpoint changed in the API to nftables commit seen, ${size}, ${name}`,
      ...figures,
      goal: `<= ${goal} ms`,
      met: value <= goal,
    };
  };
  const watches = (mode: string, value: number): BenchRow => ({
    ...{
      name: `watches of a ${mode}, ${size}`,
      value,
      unit: 'watches',
      peer: 'none: follows from what is read',
      peerValue: null,
      ratio: null,
    },
    ...{ goal: '<= 6', met: value <= 6 },
  });
  return [
    latency('p50', 0.5, 100),
    latency(`p99 of ${samples}`, 0.99, 300),
    {
      ...{ name: `memory of a realserver on the API, ${size}, 100 nodes (resident, idle)`, value: ours.resident, unit: 'MiB' },
      ...{ peer: `${informers}, same kinds, nothing else`, peerValue: peer.resident, ratio: round(peer.resident / ours.resident) },
      ...{ goal: '<= 150 MiB', met: ours.resident <= 150 },
    },
    {
      ...{ name: 'the same, its peak', value: ours.peak, unit: 'MiB', peer: `${informers}, their peak`, peerValue: peer.peak },
      ...{ ratio: round(peer.peak / ours.peak), goal: '<= 150 MiB', met: ours.peak <= 150 },
    },
    {
      ...{ name: 'start of a realserver on the API, process to last commit', value: round(ours.start, 0), unit: 'ms' },
      ...{ peer: `${informers}, until all has been read`, peerValue: round(peer.start, 0), ratio: round(peer.start / ours.start) },
      ...{ goal: 'for information', met: true },
    },
    watches('realserver', ours.watches),
    watches('director', directorWatches),
  ];
}

export async function runKubernetesBench(): Promise<BenchRow[]> {
  prepareNamespace();
  return withServer(async (rig) => {
    const ours = await measureAgent(rig);
    const peer = await measureInformers(rig);
    return rowsOf(ours, peer, await watchesOfDirector(rig));
  });
}
