/**
 * The segment and the machines on it, all namespaces:
 *
 *     client 10.20.0.1 ─┐                    ┌─ n1 10.20.0.11 ── pods 10.244.1.x
 *                       ├── bridge (segment) ┤
 *   director 10.20.0.10 ┘                    └─ n2 10.20.0.12 ── pods 10.244.2.x
 *
 * Pods hang on point-to-point links of their node, as many network plugins do it.
 */
import { LabProcess } from './process.ts';
import { Namespace, run } from './namespace.ts';
import { program } from './programs.ts';

export const addresses = { client: '10.20.0.1', director: '10.20.0.10', n1: '10.20.0.11', n2: '10.20.0.12' } as const;
export type HostName = keyof typeof addresses;
export type NodeName = 'n1' | 'n2';

export const POD_PORT = 8080;

const nodePod = (name: string): readonly string[] => [process.execPath, program('pod'), name, `${POD_PORT}`];

export interface Pod {
  readonly name: string;
  readonly node: NodeName;
  readonly address: string;
  readonly namespace: Namespace;
  readonly process: LabProcess;
}

export class Topology {
  readonly hosts: Readonly<Record<HostName, Namespace>>;
  readonly pods = new Map<string, Pod>();
  readonly #segment: Namespace;
  readonly #places = new Map<string, Omit<Pod, 'name' | 'process'>>();
  readonly #nextPod: Record<NodeName, number> = { n1: 2, n2: 2 };

  readonly #podCommand: (name: string) => readonly string[];

  private constructor(segment: Namespace, hosts: Record<HostName, Namespace>, podCommand: (name: string) => readonly string[]) {
    this.#podCommand = podCommand;
    this.#segment = segment;
    this.hosts = hosts;
  }

  /** @param podCommand starts a pod that listens on POD_PORT and says so by a line; default: programs/pod.ts */
  static async create(podCommand = nodePod): Promise<Topology> {
    const segment = await Namespace.create('segment');
    await segment.ip('link add bridge type bridge', 'link set bridge up');
    const hosts: Partial<Record<HostName, Namespace>> = {};
    for (const name of Object.keys(addresses) as HostName[]) {
      const host = await Namespace.create(name);
      hosts[name] = host;
      await segment.ip(`link add ${name} type veth peer name eth0 netns ${name}`, `link set ${name} master bridge`, `link set ${name} up`);
      await host.ip(`addr add ${addresses[name]}/24 dev eth0`, 'link set eth0 up');
    }
    const topology = new Topology(segment, hosts as Record<HostName, Namespace>, podCommand);
    for (const node of ['n1', 'n2'] as const) {
      // What every node of a cluster has: it forwards to its pods.
      await topology.hosts[node].run(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward']);
    }
    return topology;
  }

  /** Puts the namespace that this process is in on the segment, too: the way to what is outside of the lab. */
  async joinHere(address: string): Promise<void> {
    await this.#segment.ip(
      `link add here type veth peer name segment netns ${process.pid}`,
      'link set here master bridge',
      'link set here up',
    );
    await run(['ip', '-batch', '-'], { input: `addr add ${address}/24 dev segment\nlink set segment up\n` });
  }

  /** Makes the place for a pod on a node: its namespace, link and route. */
  async placePod(name: string, node: NodeName): Promise<void> {
    const number = this.#nextPod[node]++;
    const subnet = node === 'n1' ? '10.244.1' : '10.244.2';
    const address = `${subnet}.${number}`;
    const namespace = await Namespace.create(name);
    const host = this.hosts[node];
    const link = `pod${number}`;
    await host.ip(`link add ${link} type veth peer name eth0 netns ${name}`, `addr add ${subnet}.1/32 dev ${link}`, `link set ${link} up`);
    await namespace.ip(
      `addr add ${address}/32 dev eth0`,
      'link set eth0 up',
      `route add ${subnet}.1 dev eth0`,
      `route add default via ${subnet}.1`,
    );
    await host.ip(`route add ${address}/32 dev ${link}`);
    this.#places.set(name, { node, address, namespace });
  }

  /** Starts a pod, in its place if it has one; resolves when it takes connections. */
  async addPod(name: string, node: NodeName): Promise<Pod> {
    if (!this.#places.has(name)) await this.placePod(name, node);
    const place = this.#places.get(name)!;
    const server = new LabProcess(place.namespace, `pod-${name}`, this.#podCommand(name));
    await server.line();
    const pod = { name, ...place, process: server };
    this.pods.set(name, pod);
    return pod;
  }

  /** Asks a pod to end and waits for it. Its link stays. */
  async removePod(name: string): Promise<string> {
    const pod = this.pods.get(name);
    if (pod === undefined) throw new Error(`no pod ${name}`);
    this.pods.delete(name);
    return pod.process.stop();
  }

  async close(): Promise<void> {
    for (const pod of this.pods.values()) await pod.process.stop('SIGKILL');
    for (const { namespace } of this.#places.values()) await namespace.remove();
    for (const host of Object.values(this.hosts)) await host.remove();
    await this.#segment.remove();
  }
}
