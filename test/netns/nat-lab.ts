/** A node between a client and two pods, each a namespace, with both families; the node holds the VIPs. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { ProcLegacyTables } from '../../src/drivers/legacy-tables.ts';
import { Iptables } from '../../src/native/iptables.ts';
import { Netns } from '../../src/native/netns.ts';
import { Nftables } from '../../src/native/nftables.ts';
import { inside } from './nftables-support.ts';

export const VIP = '192.0.2.10';
export const VIP6 = '2001:db8::10';
export const POD = { pod1: ['10.1.1.2', 'fd00:1::2'], pod2: ['10.1.2.2', 'fd00:2::2'] } as const;
export const CLIENT = ['10.9.0.2', 'fd00:9::2'] as const;

const program = fileURLToPath(new URL('nat-traffic.ts', import.meta.url));

export interface Streamed {
  readonly started: number;
  readonly names: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
  /** The connection that was there from the beginning still carries data. */
  readonly lasting: boolean;
}

/** New connections all the time, until {@link end}. */
export class Stream {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#process = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(child: ChildProcess): Promise<Stream> {
    const stream = new Stream(child);
    assert.equal(await stream.#line(), 'ready');
    return stream;
  }

  async #line(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done === true) assert.fail('the client ended');
    return next.value;
  }

  async #started(): Promise<number> {
    this.#process.stdin!.write('how many\n');
    return Number(await this.#line());
  }

  /** Until so many more connections were begun. */
  async more(count: number): Promise<void> {
    const target = (await this.#started()) + count;
    while ((await this.#started()) < target) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  async end(): Promise<Streamed> {
    this.#process.stdin!.end();
    return JSON.parse(await this.#line()) as Streamed;
  }
}

export class NatLab {
  readonly node: Netns;
  readonly client: Netns;
  readonly pods: Readonly<Record<keyof typeof POD, Netns>>;
  readonly nftables: Nftables;
  /** Of the node, with a process inside whose /proc shows its tables. */
  readonly iptables: ProcLegacyTables;
  readonly #processes: ChildProcess[];

  private constructor(parts: Pick<NatLab, 'node' | 'client' | 'pods' | 'nftables' | 'iptables'>, processes: ChildProcess[]) {
    ({ node: this.node, client: this.client, pods: this.pods, nftables: this.nftables, iptables: this.iptables } = parts);
    this.#processes = processes;
  }

  static async create(): Promise<NatLab> {
    const [node, client, pod1, pod2] = await Promise.all([Netns.create(), Netns.create(), Netns.create(), Netns.create()]);
    inside(node, ['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding']);
    const wire = (name: string, to: Netns, [four, six]: readonly [string, string]): void => {
      const near = [four.replace(/2$/, '1'), six.replace(/2$/, '1')] as const;
      inside(node, ['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', to.path]);
      for (const [netns, device, addresses] of [
        [node, name, near],
        [to, 'eth0', [four, six]],
      ] as const) {
        inside(netns, ['ip', 'address', 'add', `${addresses[0]}/24`, 'dev', device]);
        inside(netns, ['ip', 'address', 'add', `${addresses[1]}/64`, 'dev', device, 'nodad']);
        inside(netns, ['ip', 'link', 'set', device, 'up']);
      }
      inside(to, ['ip', 'link', 'set', 'lo', 'up']);
      inside(to, ['ip', 'route', 'add', 'default', 'via', near[0]]);
      inside(to, ['ip', '-6', 'route', 'add', 'default', 'via', near[1]]);
    };
    inside(node, ['ip', 'link', 'set', 'lo', 'up']);
    inside(node, ['ip', 'address', 'add', `${VIP}/32`, 'dev', 'lo']);
    inside(node, ['ip', 'address', 'add', `${VIP6}/128`, 'dev', 'lo', 'nodad']);
    wire('toclient', client, CLIENT);
    wire('topod1', pod1, POD.pod1);
    wire('topod2', pod2, POD.pod2);
    const keeper = spawn('nsenter', [`--net=${node.path}`, 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    keeper.stdin.write('inside\n');
    await once(keeper.stdout, 'data');
    const nftables = await Nftables.open({ netns: node });
    const iptables = new ProcLegacyTables(`/proc/${keeper.pid}/net`, (options) => Iptables.open({ ...options, netns: node }));
    const lab = new NatLab({ node, client, pods: { pod1, pod2 }, nftables, iptables }, [keeper]);
    for (const name of ['pod1', 'pod2'] as const) {
      for (const address of ['0.0.0.0', '::']) await lab.#serve(lab.pods[name], address, name);
    }
    return lab;
  }

  spawn(netns: Netns, words: readonly string[]): ChildProcess {
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
    const child = spawn('nsenter', [`--net=${netns.path}`, ...node, ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#processes.push(child);
    return child;
  }

  async #serve(netns: Netns, address: string, name: string): Promise<void> {
    const child = this.spawn(netns, ['serve', address, '8080', name]);
    const ended = once(child, 'exit').then(() => assert.fail(`the server ${name} ended`));
    const [line] = (await Promise.race([once(child.stdout!, 'data'), ended])) as [Buffer];
    assert.equal(line.toString(), 'ready\n');
  }

  stream(vip: string, pauseMilliseconds: number): Promise<Stream> {
    return Stream.start(this.spawn(this.client, ['stream', vip, '80', String(pauseMilliseconds)]));
  }

  /** Answers to connections one after another, or why there was none. */
  async ask(from: Netns, vip: string, count: number, port = 80): Promise<readonly { name?: string; from?: string; error?: string }[]> {
    const child = this.spawn(from, ['ask', vip, String(port), String(count)]);
    let text = '';
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    const [status] = (await once(child, 'close')) as [number | null];
    assert.equal(status, 0);
    return JSON.parse(text) as { name?: string; from?: string; error?: string }[];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ends = this.#processes.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
    const gone = ends.map((child) => once(child, 'exit'));
    for (const child of ends) child.kill('SIGKILL');
    await Promise.all(gone);
    await this.iptables.close();
    await this.nftables.close();
    for (const netns of [this.node, this.client, ...Object.values(this.pods)]) await netns.close();
  }
}
