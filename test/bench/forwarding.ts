/**
 * Forwarding by IPVS: new connections and datagrams per second through a director whose agent wrote the rules, and
 * through one where `ipvsadm -R` wrote the same, as `ipvsadm -S` says them. One client and one server for both:
 *
 *     client 10.20.0.1 ─┐                       ┌─ real 10.20.0.20 … .29, ten nodes in one
 *                       ├── bridge (segment) ───┤
 *       ours 10.20.0.10 ┘                       └─ theirs 10.20.0.11
 *
 * The client has a route to the VIPs by one director or the other, and they take turns. Direct routing: answers go
 * straight back, so that what a director does to a packet is half of the way there.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Ipvs } from '../../src/native/ipvs.ts';
import { Netns } from '../../src/native/netns.ts';
import {
  compileConnections,
  inside,
  ip,
  LoadProgram,
  SOURCE,
  SOURCES,
  sysctl,
  targetsFor,
  targetWords,
  VIP_PORT,
  type LoadFigure,
} from './connections-lab.ts';
import { end } from './kubernetes-rig.ts';
import { median, round, type BenchRow } from './row.ts';

const VIPS = 100;
const NODES = 10;
const ROUNDS = 31;
const CONNECT_MS = 1000;
const SEND_MS = 700;
const IN_FLIGHT = '32';
const FLOWS = '64';
const DATAGRAM_BYTES = '64';

const vip = (index: number): string => `198.18.0.${String(1 + index)}`;
const nodeAddress = (index: number): string => `10.20.0.${String(20 + index)}`;
const DIRECTORS = { ours: '10.20.0.10', theirs: '10.20.0.11' } as const;
type Side = keyof typeof DIRECTORS;

/** Every VIP for TCP and UDP to a Service of its own with a pod on each node. */
function clusterFile(): string {
  const names = Array.from({ length: NODES }, (_, index) => `n${String(index)}`);
  return JSON.stringify({
    nodes: names.map((name, index) => ({ name, addresses: [nodeAddress(index)], ready: true })),
    services: Array.from({ length: VIPS }, (_, service) => ({
      ...{ namespace: 'bench', name: `s${String(service)}` },
      ports: [{ name: 'app', port: VIP_PORT, protocol: 'TCP' }],
      endpoints: names.map((node, index) => ({
        ...{ address: `10.${String(100 + index)}.0.${String(service)}`, port: VIP_PORT, portName: 'app', node, ready: true },
      })),
    })),
    config: Object.fromEntries(
      Array.from({ length: VIPS }, (_, service) => [
        vip(service),
        { [VIP_PORT]: { namespace: 'bench', service: `s${String(service)}`, portName: 'app', tcpEnabled: true, udpEnabled: true } },
      ]),
    ),
  });
}

class Segment implements AsyncDisposable {
  readonly #names: Netns[] = [];
  readonly #bridge: Netns;

  private constructor(bridge: Netns) {
    this.#bridge = bridge;
  }

  static async create(): Promise<Segment> {
    const bridge = await Netns.create();
    ip(bridge, 'link add bridge type bridge', 'link set bridge up');
    return new Segment(bridge);
  }

  /** A machine on the segment, which can answer the client's addresses. */
  async host(name: string, ...addresses: readonly string[]): Promise<Netns> {
    const host = await Netns.create();
    this.#names.push(host);
    ip(
      this.#bridge,
      `link add ${name} type veth peer name eth0 netns ${host.path}`,
      `link set ${name} master bridge`,
      `link set ${name} up`,
    );
    // A new namespace may have inherited strict settings from the machine; and nobody but its owner answers for a VIP.
    sysctl(host, { 'net/ipv4/conf/all/rp_filter': 0, 'net/ipv4/conf/eth0/rp_filter': 0, 'net/ipv4/conf/eth0/arp_ignore': 1 });
    ip(host, ...addresses.map((address) => `address add ${address}/24 dev eth0`), 'link set eth0 up');
    return host;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const netns of [...this.#names, this.#bridge]) await netns.close();
  }
}

function startAgent(netns: Netns, folder: string): ChildProcess {
  const file = join(folder, 'cluster.json');
  writeFileSync(file, clusterFile());
  const words = ['--mode=director', `--source-file=${file}`, '--compute-iface=eth0', `--state-dir=${folder}`, '--log-level=error'];
  const agent = [process.execPath, join(process.cwd(), 'dist/ravel-agent.js'), ...words];
  return spawn('nsenter', [`--net=${netns.path}`, ...agent], { stdio: ['ignore', 'inherit', 'inherit'] });
}

/** Resolves when every destination of every virtual service has weight. */
async function programmed(netns: Netns, agent: ChildProcess): Promise<void> {
  await using ipvs = await Ipvs.open({ netns });
  const deadline = performance.now() + 180_000;
  for (;;) {
    const { destinations } = await ipvs.snapshot();
    const weighted = destinations.weight.filter((weight) => weight > 0).length;
    if (weighted === VIPS * NODES * 2) return;
    if (agent.exitCode !== null) throw new Error(`the agent ended with exit code ${String(agent.exitCode)}`);
    if (performance.now() > deadline) throw new Error(`only ${String(weighted)} destinations after 180 s`);
    await wait(500);
  }
}

/** Of TCP. IPVS counts a connection from a port that it still knows as the one before, but no packet twice. */
async function packetsThrough(netns: Netns): Promise<number> {
  await using ipvs = await Ipvs.open({ netns });
  const services = (await ipvs.services()).filter(({ id }) => 'protocol' in id && id.protocol === 'tcp');
  return services.reduce((sum, { statistics }) => sum + statistics.inPackets, 0);
}

/** The client's part of opening and ending a connection: at least SYN and ACK. */
const PACKETS_PER_CONNECTION = 2;

interface Ends {
  readonly client: Netns;
  readonly connect: LoadProgram;
  readonly send: LoadProgram;
  readonly server: LoadProgram;
}

/** Datagrams that the server has, once no more come. */
async function received(server: LoadProgram): Promise<number> {
  const ask = async (): Promise<number> => ((await server.ask('')) as { datagrams: number }).datagrams;
  for (let last = await ask(); ;) {
    await wait(100);
    const now = await ask();
    if (now === last) return now;
    last = now;
  }
}

interface Samples {
  readonly connections: number[];
  readonly datagrams: number[];
  established: number;
}

async function slice({ client, connect, send, server }: Ends, side: Side, samples: Samples): Promise<void> {
  ip(client, `route replace 198.18.0.0/24 via ${DIRECTORS[side]}`);
  const figure = (await connect.ask(String(CONNECT_MS))) as LoadFigure;
  if (figure.failed > 0 || figure.count === 0) throw new Error(`${side}: ${String(figure.failed)} connections failed: ${figure.error}`);
  samples.established += figure.count;
  samples.connections.push((figure.count * 1000) / figure.ms);
  const before = await received(server);
  const sent = (await send.ask(String(SEND_MS))) as LoadFigure;
  const arrived = (await received(server)) - before;
  if (arrived === 0) throw new Error(`${side}: none of ${String(sent.count)} datagrams arrived`);
  samples.datagrams.push((arrived * 1000) / sent.ms);
}

function row(what: string, unit: string, ours: readonly number[], theirs: readonly number[]): BenchRow {
  const ratio = median(ours.map((sample, turn) => sample / (theirs[turn] ?? Number.NaN)));
  return {
    ...{ name: `IPVS forwarding, ${String(VIPS)} VIPs x ${String(NODES)}, ${what}`, value: round(median(ours), 0), unit },
    ...{
      peer: 'the same rules by ipvsadm -R',
      peerValue: round(median(theirs), 0),
      ratio: round(ratio),
      goal: '>= 0.95x',
      met: ratio >= 0.95,
    },
  };
}

/** Needs root, a kernel with ip_vs, a C compiler and dist/ravel-agent.js; two minutes under emulation. */
export async function runForwardingBench(rounds = ROUNDS): Promise<BenchRow[]> {
  const program = compileConnections();
  const folder = mkdtempSync(join(tmpdir(), 'ravel-forwarding-'));
  await using segment = await Segment.create();
  const client = await segment.host('client', '10.20.0.1');
  const [ours, theirs] = [await segment.host('ours', DIRECTORS.ours), await segment.host('theirs', DIRECTORS.theirs)];
  const real = await segment.host('real', ...Array.from({ length: NODES }, (_, index) => nodeAddress(index)));
  ip(client, 'route add local 10.9.1.0/29 dev lo');
  for (const host of [ours, theirs, real]) ip(host, 'route add 10.9.1.0/29 via 10.20.0.1');
  ip(real, 'route add local 198.18.0.0/24 dev lo');
  const agent = startAgent(ours, folder);
  const programs: LoadProgram[] = [];
  const start = async (netns: Netns, name: string, words: readonly string[]): Promise<LoadProgram> => {
    const started = await LoadProgram.start(netns, name, [program, ...words]);
    programs.push(started);
    return started;
  };
  try {
    await programmed(ours, agent);
    ip(
      theirs,
      'link add vip0 type dummy',
      'link set vip0 up',
      ...Array.from({ length: VIPS }, (_, i) => `address add ${vip(i)}/32 dev vip0`),
    );
    inside(theirs, ['ipvsadm', '-R'], inside(ours, ['ipvsadm', '-S', '-n']));
    // Datagram sockets are connected at once, and need a way.
    ip(client, `route add 198.18.0.0/24 via ${DIRECTORS.ours}`);
    const targets = targetWords(targetsFor(VIPS));
    const ends: Ends = {
      client,
      server: await start(real, 'forwarding-serve', ['serve', String(VIP_PORT)]),
      connect: await start(client, 'forwarding-connect', ['connect', SOURCE, String(SOURCES), ...targets, IN_FLIGHT]),
      send: await start(client, 'forwarding-send', ['send', SOURCE, FLOWS, ...targets, DATAGRAM_BYTES]),
    };
    const samples: Record<Side, Samples> = {
      ours: { connections: [], datagrams: [], established: 0 },
      theirs: { connections: [], datagrams: [], established: 0 },
    };
    for (let turn = 0; turn < rounds; turn++) {
      for (const side of turn % 2 === 0 ? (['ours', 'theirs'] as const) : (['theirs', 'ours'] as const))
        await slice(ends, side, samples[side]);
    }
    for (const [side, netns] of [
      ['ours', ours],
      ['theirs', theirs],
    ] as const) {
      const through = await packetsThrough(netns);
      const { established } = samples[side];
      if (through < established * PACKETS_PER_CONNECTION)
        throw new Error(`${side}: ${String(through)} packets of ${String(established)} connections went through IPVS`);
    }
    return [
      row('new connections', 'connections/s', samples.ours.connections, samples.theirs.connections),
      row('UDP of 64 bytes', 'datagrams/s', samples.ours.datagrams, samples.theirs.datagrams),
    ];
  } finally {
    await end(agent);
    for (const each of programs) await each.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
