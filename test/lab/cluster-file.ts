/** The cluster as a file, rewritten whole and renamed into place, as editors and config management do it. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { addresses, POD_PORT, type Pod, type Topology } from './topology.ts';

export const VIP = '10.20.0.100';
export const VIP_PORT = 80;

export type PodState = 'ready' | 'starting' | 'terminating';

export class ClusterFile {
  readonly path: string;
  readonly #topology: Topology;
  readonly #states = new Map<string, PodState>();

  constructor(topology: Topology, file = '/run/lab/cluster.yaml') {
    this.path = file;
    this.#topology = topology;
    mkdirSync(path.dirname(file), { recursive: true });
  }

  /** Sets what is said of a pod, and writes. A pod that was never set is ready. */
  set(pod: string, state: PodState): void {
    this.#states.set(pod, state);
    this.write();
  }

  write(): void {
    this.writeText(this.text());
  }

  writeText(text: string): void {
    writeFileSync(`${this.path}.new`, text);
    renameSync(`${this.path}.new`, this.path);
  }

  text(): string {
    const pods = [...this.#topology.pods.values()];
    return [
      'nodes:',
      `  - { name: n1, addresses: [${addresses.n1}] }`,
      `  - { name: n2, addresses: [${addresses.n2}] }`,
      'services:',
      '  - namespace: shop',
      '    name: web',
      `    ports: [{ name: http, port: ${VIP_PORT}, protocol: TCP }]`,
      '    endpoints:',
      ...pods.map((pod) => `      - ${this.#endpoint(pod)}`),
      'config:',
      `  '${VIP}':`,
      `    '${VIP_PORT}': { namespace: shop, service: web, portName: http }`,
      '',
    ].join('\n');
  }

  #endpoint({ name, address, node }: Pod): string {
    const state = this.#states.get(name) ?? 'ready';
    return `{ address: ${address}, port: ${POD_PORT}, portName: http, node: ${node}, ready: ${state === 'ready'}, terminating: ${state === 'terminating'} }`;
  }
}
