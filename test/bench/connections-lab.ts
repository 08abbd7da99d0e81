/**
 * The ends of a way through one machine, for connections.c:
 *
 *     client 10.9.1.0/29 ── 10.9.0.2 ─── 10.9.0.1 node 10.8.0.1 ─── 10.8.0.2 ── 10.50.0.0/16 pods
 *
 * Every address of 10.9.1.0/29 and of 10.50.0.0/16 is local at its end, so that thousands of pods are one program. The
 * node has no way to a VIP: only what it translates arrives.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { DesiredNatService } from '../../src/desired/types.ts';
import { Netns } from '../../src/native/netns.ts';
import { LabProcess } from '../lab/process.ts';

export const POD_PORT = 8080;
export const SOURCE = '10.9.1.1';
export const SOURCES = 6;
/** The first port of each VIP. */
export const VIP_PORT = 1000;
/** Enough to keep the processor busy, few enough that nothing queues for long. */
const IN_FLIGHT = 64;

/** Compiles connections.c into build/bench; the program's path. */
export function compileConnections(): string {
  const folder = resolve(process.env['RAVEL_OUT'] ?? 'build', 'bench');
  mkdirSync(folder, { recursive: true });
  const program = join(folder, 'connections');
  execFileSync(process.env['CC'] ?? 'cc', ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-o', program, 'test/bench/connections.c']);
  return program;
}

export function inside(netns: Netns, command: readonly string[], input = ''): string {
  const ended = spawnSync('nsenter', [`--net=${netns.path}`, ...command], { input, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (ended.error !== undefined) throw ended.error;
  if (ended.status !== 0) throw new Error(`${command.join(' ')}: ${ended.stderr}`);
  return ended.stdout;
}

/** `ip` commands, one a line, in one process. */
export const ip = (netns: Netns, ...lines: readonly string[]): string => inside(netns, ['ip', '-batch', '-'], `${lines.join('\n')}\n`);

/** Settings below /proc/sys. */
export function sysctl(netns: Netns, values: Readonly<Record<string, number>>): void {
  const lines = Object.entries(values).map(([key, value]) => `echo ${String(value)} >/proc/sys/${key}`);
  inside(netns, ['sh', '-ec', lines.join('\n')]);
}

/** One of the programs of connections.c, in a namespace, ready. */
export class LoadProgram {
  readonly #process: LabProcess;

  private constructor(running: LabProcess) {
    this.#process = running;
  }

  static async start(netns: Netns, name: string, command: readonly string[]): Promise<LoadProgram> {
    const enter = { spawn: (words: readonly string[], options: object) => spawn('nsenter', [`--net=${netns.path}`, ...words], options) };
    const program = new LoadProgram(new LabProcess(enter, name, command));
    const line = await program.#process.line();
    if (line !== 'ready') throw new Error(`${name} said ${line}`);
    return program;
  }

  async ask(line: string): Promise<unknown> {
    this.#process.write(line);
    return JSON.parse(await this.#process.line()) as unknown;
  }

  async close(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }
}

export interface LoadFigure {
  readonly count: number;
  readonly failed: number;
  readonly error: string;
  readonly ms: number;
}

/** VIP:ports of a series: at most 100 VIPs, each with as many ports as it takes. */
export interface Targets {
  readonly vips: number;
  readonly ports: number;
}

export const targetsFor = (count: number): Targets => ({ vips: Math.min(count, 100), ports: Math.ceil(count / 100) });

/** VIPs are of the range for benchmarks (RFC 2544, C.2.2). */
function targetAt({ ports }: Targets, index: number): { readonly address: string; readonly port: number } {
  return { address: `198.18.0.${String(1 + Math.floor(index / ports))}`, port: VIP_PORT + (index % ports) };
}

/** Arguments of connections.c for all of the targets. */
export const targetWords = ({ vips, ports }: Targets): string[] => ['198.18.0.1', String(vips), String(VIP_PORT), String(ports)];

/** For the one in the middle alone. */
export function middleWords(targets: Targets): string[] {
  const { address, port } = targetAt(targets, Math.floor((targets.vips * targets.ports) / 2));
  return [address, '1', String(port), '1'];
}

/** The virtual services of the targets, each with two pods of its own. */
export function natServices(targets: Targets): DesiredNatService[] {
  return Array.from({ length: targets.vips * targets.ports }, (_, index): DesiredNatService => {
    const { address, port } = targetAt(targets, index);
    return {
      ...{ key: `tcp ${address}:${String(port)}`, address, port, protocol: 6, comment: `bench/service-${String(index)}:http` },
      pods: [0, 1].map((pod) => ({ address: `10.50.${String(index >> 7)}.${String(((index & 127) << 1) + pod)}`, port: POD_PORT })),
    };
  });
}

/** Both ends and the machine between them. */
export class Way {
  readonly node: Netns;
  readonly #client: Netns;
  readonly #pods: Netns;
  readonly #load: LoadProgram;
  readonly #server: LoadProgram;

  private constructor(node: Netns, client: Netns, pods: Netns, load: LoadProgram, server: LoadProgram) {
    this.node = node;
    this.#client = client;
    this.#pods = pods;
    this.#load = load;
    this.#server = server;
  }

  /** `targets`: arguments of connections.c. */
  static async create(name: string, program: string, targets: readonly string[]): Promise<Way> {
    const [client, node, pods] = [await Netns.create(), await Netns.create(), await Netns.create()];
    ip(node, `link add client type veth peer name eth0 netns ${client.path}`, `link add pods type veth peer name eth0 netns ${pods.path}`);
    ip(node, 'address add 10.9.0.1/24 dev client', 'address add 10.8.0.1/24 dev pods', 'link set client up', 'link set pods up');
    ip(client, 'address add 10.9.0.2/24 dev eth0', 'link set eth0 up', 'route add default via 10.9.0.1');
    ip(client, 'route add local 10.9.1.0/29 dev lo');
    ip(
      pods,
      'address add 10.8.0.2/24 dev eth0',
      'link set eth0 up',
      'route add default via 10.8.0.1',
      'route add local 10.50.0.0/16 dev lo',
    );
    ip(node, 'route add 10.9.1.0/29 via 10.9.0.2', 'route add 10.50.0.0/16 via 10.8.0.2');
    sysctl(node, { 'net/ipv4/ip_forward': 1 });
    const server = await LoadProgram.start(pods, `serve-${name}`, [program, 'serve', String(POD_PORT)]);
    const words = [program, 'connect', SOURCE, String(SOURCES), ...targets, String(IN_FLIGHT)];
    const load = await LoadProgram.start(client, `connect-${name}`, words);
    return new Way(node, client, pods, load, server);
  }

  /**
   * Tracked connections that were reset are forgotten after a second, not after ten: the table stays as small at the end
   * of a run as at its beginning. Once a rule needs connection tracking: before, the setting does not exist.
   */
  forgetQuickly(): void {
    sysctl(this.node, { 'net/netfilter/nf_conntrack_tcp_timeout_close': 1 });
  }

  /** New connections for so long; all must have been established. */
  async connect(milliseconds: number): Promise<LoadFigure> {
    const figure = (await this.#load.ask(String(milliseconds))) as LoadFigure;
    if (figure.failed > 0 || figure.count === 0) {
      throw new Error(`${String(figure.failed)} of ${String(figure.count + figure.failed)} connections failed: ${figure.error}`);
    }
    return figure;
  }

  async close(): Promise<void> {
    await this.#load.close();
    await this.#server.close();
    for (const netns of [this.#client, this.node, this.#pods]) await netns.close();
  }
}
