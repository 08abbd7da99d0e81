/** Clusters of a size: nodes, services with one slice each, and changes to them at a rate. */
import type { ApiClient, ApiObject } from './client.ts';
import { onceOnly, sliceObject, TestCluster, type SliceEndpoint } from './cluster.ts';

export interface Population {
  readonly namespace: string;
  readonly services: number;
  readonly endpoints: number;
  /** Nodes that exist in the API only, `far-0`…; endpoints go round them. */
  readonly nodes: number;
  /** A node that runs the first endpoint of every service. */
  readonly local: string;
}

export const PORT_NAME = 'http';
/** VIPs take this many ports each. */
const PORTS = 100;

export const serviceName = (index: number): string => `s${index}`;
export const farNode = (index: number): string => `far-${index}`;

/** Address and port on which the configuration of {@link configOf} offers a service. */
export function vipOf(index: number): { readonly address: string; readonly port: number } {
  return { address: `10.60.0.${Math.floor(index / PORTS) + 1}`, port: 8000 + (index % PORTS) };
}

/** The endpoints of a service; `count` of the first node's, then one each of the far ones. */
export function endpointsOf(population: Population, index: number, onLocal: number): SliceEndpoint[] {
  const { endpoints, nodes, local } = population;
  const address = (number: number): string => `10.${100 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
  const base = index * (endpoints + 8);
  const here = Array.from({ length: onLocal }, (_, pod) => ({ address: address(base + pod), node: local }));
  const there = Array.from({ length: endpoints - 1 }, (_, pod) => ({
    address: address(base + 8 + pod),
    node: nodes === 0 ? local : farNode((index + pod) % nodes),
  }));
  return [...here, ...there];
}

export function configOf(population: Population): Record<string, Record<string, object>> {
  const config: Record<string, Record<string, object>> = {};
  for (let index = 0; index < population.services; index++) {
    const { address, port } = vipOf(index);
    (config[address] ??= {})[`${port}`] = { namespace: population.namespace, service: serviceName(index), portName: PORT_NAME };
  }
  return config;
}

export async function populate(client: ApiClient, population: Population): Promise<void> {
  const cluster = new TestCluster(client);
  const { namespace, services, nodes } = population;
  await cluster.createNamespace(namespace);
  await concurrently(nodes, (index) =>
    onceOnly(cluster.createNode({ name: farNode(index), address: `10.30.${index >> 8}.${(index & 255) + 1}` })),
  );
  await concurrently(services, async (index) => {
    const name = serviceName(index);
    await cluster.createService({ namespace, name, portName: PORT_NAME, port: 80, targetPort: 8080 });
    await client.post(slicesPath(namespace), slice(population, index, 1));
  });
}

export function slicesPath(namespace: string): string {
  return `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;
}

export function slice(population: Population, index: number, onLocal: number): ApiObject {
  const name = serviceName(index);
  return sliceObject(name, name, PORT_NAME, 8080, endpointsOf(population, index, onLocal));
}

/** Changes services in turn, one pod more or less on the local node, until stopped. */
export class Churn {
  changes = 0;
  failures = 0;
  #stopped = false;
  readonly #ended: Promise<void>;

  constructor(client: ApiClient, population: Population, perSecond: number) {
    this.#ended = this.#run(client, population, perSecond);
  }

  async #run(client: ApiClient, population: Population, perSecond: number): Promise<void> {
    const began = performance.now();
    for (let step = 0; !this.#stopped; step++) {
      const due = began + (step * 1000) / perSecond;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
      const index = step % population.services;
      const round = Math.floor(step / population.services);
      const path = `${slicesPath(population.namespace)}/${serviceName(index)}`;
      try {
        await client.patch(path, slice(population, index, 2 - (round % 2)));
        this.changes += 1;
      } catch {
        // The server may be down on purpose; how often is told.
        this.failures += 1;
      }
    }
  }

  async stop(): Promise<{ changes: number; failures: number }> {
    this.#stopped = true;
    await this.#ended;
    return { changes: this.changes, failures: this.failures };
  }
}

async function concurrently(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}
