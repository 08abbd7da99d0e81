/** The lab's machines with agents that follow the real API server, and what the tests change in it. */
import { LoadClient } from '../../lab/load.ts';
import { Relay } from '../../lab/relay.ts';
import { httpPod, SteadyClient, type SteadyLoad } from '../../lab/steady.ts';
import { addresses, POD_PORT, Topology, type NodeName } from '../../lab/topology.ts';
import { waitFor } from '../../lab/wait.ts';
import { Ipvs, Netns } from '../../../src/native/index.ts';
import { onceOnly, TestCluster } from '../harness/cluster.ts';
import { Chart, CONFIG_KEY, CONFIG_NAME, NAMESPACE } from './chart.ts';
import { Host } from './connect.ts';
import { KubeAgent } from './kube-agent.ts';

/** The API server's address on the segment; each agent has a port of its own, so that tests can cut it off alone. */
export const API_ADDRESS = '10.20.0.2';
export const ports = { director: 6443, n1: 6444, n2: 6445 } as const;
export type Machine = keyof typeof ports;

export const SHOP = 'shop';

export class Scene {
  readonly host: Host;
  readonly cluster: TestCluster;
  readonly chart = new Chart();
  readonly topology: Topology;
  readonly relay: Relay;
  readonly agents: Readonly<Record<Machine, KubeAgent>>;
  readonly #clients: { close(): Promise<unknown> }[] = [];

  readonly #ipvs: Ipvs;

  private constructor(host: Host, cluster: TestCluster, topology: Topology, relay: Relay, ipvs: Ipvs) {
    this.#ipvs = ipvs;
    this.host = host;
    this.cluster = cluster;
    this.topology = topology;
    this.relay = relay;
    const agent = (machine: Machine, mode: 'director' | 'realserver'): KubeAgent => {
      const server = { address: API_ADDRESS, port: ports[machine] };
      return new KubeAgent({ namespace: topology.hosts[machine], mode, nodeName: machine, server }, this.chart, cluster);
    };
    this.agents = { director: agent('director', 'director'), n1: agent('n1', 'realserver'), n2: agent('n2', 'realserver') };
  }

  /** Machines, accounts, rights and nodes; no agent runs yet. What an earlier scene left in the API stays. */
  static async create(): Promise<Scene> {
    const host = Host.find();
    const cluster = new TestCluster(host.api);
    const topology = await Topology.create(httpPod);
    await topology.joinHere(API_ADDRESS);
    const relay = await Relay.start(API_ADDRESS, host.upstream);
    const director = await Netns.fromPath(`/run/netns/${topology.hosts.director.name}`);
    const scene = new Scene(host, cluster, topology, relay, await Ipvs.open({ netns: director }));
    for (const name of [NAMESPACE, SHOP]) await onceOnly(cluster.createNamespace(name));
    for (const manifest of scene.chart.rights) await cluster.apply(manifest);
    for (const name of ['n1', 'n2'] as const) await onceOnly(cluster.createNode({ name, address: addresses[name] }));
    for (const port of Object.values(ports)) await relay.command(port, 'open');
    for (const agent of Object.values(scene.agents)) {
      agent.giveAuthority(host.authority);
      await agent.giveToken();
    }
    return scene;
  }

  /** Starts all agents; resolves when each has read its input and has nothing left to do. */
  async startAgents(): Promise<void> {
    for (const agent of Object.values(this.agents)) agent.start();
    await Promise.all(Object.values(this.agents).map((agent) => agent.settled()));
  }

  /** The configuration: VIP → port → `service`, a service in namespace `shop` with a port named http. */
  async configure(vips: Readonly<Record<string, Readonly<Record<string, string>>>>): Promise<void> {
    const config = Object.fromEntries(
      Object.entries(vips).map(([vip, services]) => [
        vip,
        Object.fromEntries(Object.entries(services).map(([port, service]) => [port, { namespace: SHOP, service, portName: 'http' }])),
      ]),
    );
    await this.cluster.putConfigMap(NAMESPACE, CONFIG_NAME, { [CONFIG_KEY]: JSON.stringify({ config }) });
  }

  async createService(name: string, annotations: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.cluster.createService({
      ...{ namespace: SHOP, name, annotations, selector: { app: name } },
      ...{ portName: 'http', port: 80, targetPort: POD_PORT },
    });
  }

  /** Starts a pod of a service and says so to the API, in the order in which a kubelet does it. */
  async addPod(service: string, name: string, node: NodeName): Promise<void> {
    const pod = await this.topology.addPod(name, node);
    await this.cluster.createPod({ namespace: SHOP, name, node, address: pod.address, port: POD_PORT, labels: { app: service } });
  }

  /**
   * Deletes a pod as a kubelet does: it is terminating in the API at once; its process is asked to end after
   * `preStopMilliseconds` (the hook that charts use for load balancers), and the object goes when the process has.
   */
  async deletePod(name: string, preStopMilliseconds: number): Promise<void> {
    await this.cluster.terminatePod(SHOP, name);
    await new Promise((resolve) => setTimeout(resolve, preStopMilliseconds));
    await this.topology.removePod(name);
    await this.cluster.removePod(SHOP, name);
  }

  client(vip: string, port: number): LoadClient {
    const client = new LoadClient(this.topology.hosts.client, vip, port);
    this.#clients.push(client);
    return client;
  }

  steady(vip: string, load: SteadyLoad): SteadyClient {
    const client = new SteadyClient(this.topology.hosts.client, vip, 80, load);
    this.#clients.push(client);
    return client;
  }

  /** Destination → weight of one virtual service; empty without it. Read from the kernel, no process is started. */
  async weights(address: string, port: number): Promise<Record<string, number>> {
    const destinations = await this.#ipvs.destinations({ protocol: 'tcp', address, port });
    return Object.fromEntries(destinations.map(({ id, spec }) => [nameOf(id.address), spec.weight]));
  }

  async weightsBecome(vip: string, port: number, wanted: Readonly<Record<string, number>>, deadlineMs = 60_000): Promise<void> {
    const text = weightText(wanted);
    await waitFor(
      `the weights of ${vip}:${port} to be ${text}`,
      async () => {
        const now = weightText(await this.weights(vip, port));
        if (now !== text) throw new Error(`they are ${now}`);
        return true;
      },
      deadlineMs,
    );
  }

  /** Takes out of the API what the next scene must not find. */
  async #empty(): Promise<void> {
    const { api } = this.host;
    await api.delete(`/api/v1/namespaces/${SHOP}/pods`, { gracePeriodSeconds: 0 });
    await api.delete(`/api/v1/namespaces/${SHOP}/services`);
    await api.delete(`/apis/discovery.k8s.io/v1/namespaces/${SHOP}/endpointslices`);
    await api.delete(`/api/v1/namespaces/${NAMESPACE}/configmaps`);
    await api.delete(`/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`);
    for (const name of ['n1', 'n2']) await api.delete(`/api/v1/nodes/${name}`);
  }

  async close(): Promise<void> {
    for (const client of this.#clients) await client.close();
    for (const agent of Object.values(this.agents)) await agent.end();
    await this.#ipvs.close();
    await this.#empty();
    await this.relay.close();
    await this.topology.close();
    this.host.close();
  }
}

const machines = new Map<string, string>(Object.entries(addresses).map(([name, address]) => [address, name]));

/** Nodes of the lab by name, others by address. */
const nameOf = (address: string): string => machines.get(address) ?? address;

const weightText = (weights: Readonly<Record<string, number>>): string =>
  JSON.stringify(Object.fromEntries(Object.entries(weights).sort()));
