/** A cluster of several Services and VIPs as a file: what the tests of the data plane give their agents. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { addresses, addresses6, POD_PORT, type Topology } from './topology.ts';

export interface LabEntry {
  /** Default `web`. */
  readonly service?: string;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly tcpEnabled?: boolean;
  readonly udpEnabled?: boolean;
  readonly sctpEnabled?: boolean;
}

export class LabCluster {
  readonly path: string;
  readonly #topology: Topology;
  /** Pods of a Service; those of `web` are all that run. A name of a pod that does not run is left out. */
  services: Record<string, readonly string[] | 'all'> = { web: 'all' };
  /** VIP → port → entry. */
  vips: Record<string, Record<number, LabEntry>> = {};
  mtu: Record<string, number> = {};
  /** Node → what else is said of it. */
  nodes: Record<string, Readonly<Record<string, unknown>>> = { n1: {}, n2: {} };

  constructor(topology: Topology, file = '/run/lab/cluster.json') {
    this.path = file;
    this.#topology = topology;
    mkdirSync(path.dirname(file), { recursive: true });
  }

  write(): void {
    writeFileSync(`${this.path}.new`, this.text());
    renameSync(`${this.path}.new`, this.path);
  }

  text(): string {
    const nodes = Object.entries(this.nodes).map(([name, more]) => {
      const own = name as keyof typeof addresses;
      return { name, addresses: [addresses[own], addresses6[own]], ...more };
    });
    const services = Object.entries(this.services).map(([name, pods]) => ({
      ...{ namespace: 'lab', name, ports: [{ name: 'echo', port: 80, protocol: 'TCP' }] },
      endpoints: this.#endpoints(pods),
    }));
    const config = (v6: boolean): Record<string, unknown> =>
      Object.fromEntries(
        Object.entries(this.vips)
          .filter(([vip]) => vip.includes(':') === v6)
          .map(([vip, ports]) => [vip, Object.fromEntries(Object.entries(ports).map(([port, entry]) => [port, this.#entry(entry)]))]),
      );
    const mtu = (v6: boolean): Record<string, number> =>
      Object.fromEntries(Object.entries(this.mtu).filter(([vip]) => vip.includes(':') === v6));
    return JSON.stringify({ nodes, services, config: config(false), config6: config(true), mtuConfig: mtu(false), mtuConfig6: mtu(true) });
  }

  #entry({ service = 'web', options = {}, ...protocols }: LabEntry): unknown {
    return { namespace: 'lab', service, portName: 'echo', ...protocols, ipvsOptions: options };
  }

  #endpoints(names: readonly string[] | 'all'): unknown[] {
    return [...this.#topology.pods.values()]
      .filter(({ name }) => names === 'all' || names.includes(name))
      .flatMap(({ address, address6, node }) =>
        [address, address6].map((each) => ({ address: each, port: POD_PORT, portName: 'echo', node })),
      );
  }
}
