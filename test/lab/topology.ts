/**
 * The segment and the machines on it, all namespaces:
 *
 *     client 10.20.0.1 ─┐                    ┌─ n1 10.20.0.11 ── pods 10.244.1.x
 *                       ├── bridge (segment) ┤
 *   director 10.20.0.10 ┘                    └─ n2 10.20.0.12 ── pods 10.244.2.x
 *
 * and the same with IPv6: 2001:db8:20::1, ::10, ::11, ::12, pods 2001:db8:244:<node>::x. Pods hang on point-to-point
 * links of their node, and the machines of the cluster have routes to each other's pods, as many network plugins do it.
 */
import { LabProcess } from './process.ts';
import { Namespace, run } from './namespace.ts';
import { program } from './programs.ts';

export const addresses = { client: '10.20.0.1', director: '10.20.0.10', n1: '10.20.0.11', n2: '10.20.0.12' } as const;
export type HostName = keyof typeof addresses;
export type NodeName = 'n1' | 'n2';

export const addresses6: Readonly<Record<HostName, string>> = {
  client: '2001:db8:20::1',
  director: '2001:db8:20::10',
  n1: '2001:db8:20::11',
  n2: '2001:db8:20::12',
};

/** First three parts of the addresses of a node's pods; the node's end of each link is number 1 of it. */
export const podNetworks: Readonly<Record<NodeName, { readonly v4: string; readonly v6: string }>> = {
  n1: { v4: '10.244.1.', v6: '2001:db8:244:1::' },
  n2: { v4: '10.244.2.', v6: '2001:db8:244:2::' },
};

export const POD_PORT = 8080;

const nodePod = (name: string): readonly string[] => [process.execPath, program('pod'), name, `${POD_PORT}`];

export interface Pod {
  readonly name: string;
  readonly node: NodeName;
  readonly address: string;
  readonly address6: string;
  readonly namespace: Namespace;
  readonly process: LabProcess;
}

/** A machine without interfaces: those take their settings from `default`. */
async function createMachine(name: string, forwarding: boolean): Promise<Namespace> {
  const host = await Namespace.create(name);
  // Nobody else has our addresses; a link-local one that is being checked cannot ask for neighbours.
  const lines = ['echo 0 >ipv6/conf/all/accept_dad', 'echo 0 >ipv6/conf/default/accept_dad'];
  // What sends packets back to the segment they came from would tell their senders of a shorter way.
  lines.push('echo 0 >ipv4/conf/all/send_redirects', 'echo 0 >ipv4/conf/default/send_redirects');
  await host.run(['sh', '-c', `cd /proc/sys/net && ${[...lines, ...(forwarding ? FORWARDING : [])].join(' && ')}`]);
  return host;
}

const FORWARDING = ['echo 1 >ipv4/ip_forward', 'echo 1 >ipv6/conf/all/forwarding'];

/** Lets a machine pass on what is not for itself. Nodes do from the start. */
export async function forward(host: Namespace): Promise<void> {
  await host.run(['sh', '-c', `cd /proc/sys/net && ${FORWARDING.join(' && ')}`]);
}

/** A pod or anything else at the end of a point-to-point link of a machine. */
export async function attach(
  host: Namespace,
  end: Namespace,
  link: string,
  pairs: readonly { readonly near: string; readonly far: string }[],
): Promise<void> {
  await host.ip(
    `link add ${link} type veth peer name eth0 netns ${end.name}`,
    ...pairs.map(({ near }) => `addr add ${near} dev ${link}${near.includes(':') ? ' nodad' : ''}`),
    `link set ${link} up`,
  );
  await end.ip(
    ...pairs.map(({ far }) => `addr add ${far} dev eth0${far.includes(':') ? ' nodad' : ''}`),
    'link set eth0 up',
    ...pairs.flatMap(({ near }) => [`route add ${near} dev eth0`, `route add default via ${near} dev eth0`]),
  );
  await host.ip(...pairs.map(({ far }) => `route add ${far} dev ${link}`));
}

export class Topology {
  readonly hosts: Readonly<Record<HostName, Namespace>>;
  readonly pods = new Map<string, Pod>();
  readonly #segment: Namespace;
  readonly #others: Namespace[] = [];
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
    const topology = new Topology(segment, hosts as Record<HostName, Namespace>, podCommand);
    for (const name of Object.keys(addresses) as HostName[]) {
      // Nodes forward to their pods.
      hosts[name] = await topology.addHost(name, name === 'n1' || name === 'n2', `${addresses[name]}/24`, `${addresses6[name]}/64`);
    }
    for (const node of ['n1', 'n2'] as const) {
      const { v4, v6 } = podNetworks[node];
      const routes = [`route add ${v4}0/24 via ${addresses[node]}`, `route add ${v6}/64 via ${addresses6[node]}`];
      for (const other of ['director', 'n1', 'n2'] as const) if (other !== node) await topology.hosts[other].ip(...routes);
    }
    return topology;
  }

  /** Puts another machine on the segment. */
  async addHost(name: string, forwarding: boolean, ...networks: readonly string[]): Promise<Namespace> {
    const host = await this.addMachine(name, forwarding);
    await this.#segment.ip(
      `link add ${name} type veth peer name eth0 netns ${name}`,
      `link set ${name} master bridge`,
      `link set ${name} up`,
    );
    await host.ip(...networks.map((network) => `addr add ${network} dev eth0${network.includes(':') ? ' nodad' : ''}`), 'link set eth0 up');
    return host;
  }

  /** Takes a machine off the segment, as pulling its cable does, or puts it back. */
  async plug(name: string, state: 'up' | 'down'): Promise<void> {
    await this.#segment.ip(`link set ${name} ${state}`);
  }

  /** A machine that is not on the segment, yet. */
  async addMachine(name: string, forwarding: boolean): Promise<Namespace> {
    const host = await createMachine(name, forwarding);
    this.#others.push(host);
    return host;
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
  async placePod(name: string, node: NodeName): Promise<Namespace> {
    const number = this.#nextPod[node]++;
    const { v4, v6 } = podNetworks[node];
    const [address, address6] = [`${v4}${number}`, `${v6}${number}`];
    const namespace = await Namespace.create(name);
    await attach(this.hosts[node], namespace, `pod${number}`, [
      { near: `${v4}1`, far: address },
      { near: `${v6}1`, far: address6 },
    ]);
    this.#places.set(name, { node, address, address6, namespace });
    return namespace;
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
    for (const host of this.#others) await host.remove();
    await this.#segment.remove();
  }
}
