/** One Service behind one VIP, told in a few words, and a director that balances it. */
import type { ClusterService, ClusterState, DrainPolicy, Endpoint, Node } from '../../src/model/cluster.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { cluster } from './cluster.ts';
import type { FakeKernel } from './kernel.ts';
import { Rig } from './rig.ts';

export const vip = '10.50.0.1';
export const key = `tcp ${vip}:80`;

/** `n1`: a ready pod there; `n1 serving`: terminating and still serving; `n1 ending`: terminating; `n1 waiting`: not ready yet. */
export type Pod = string;

export interface Telling {
  readonly pods: readonly Pod[];
  /** What differs from a node that is in order; `null`: the node is gone. */
  readonly nodes?: Readonly<Record<string, Partial<Node> | null>>;
  readonly drain?: DrainPolicy;
  readonly revision?: number;
  readonly confirmed?: Readonly<Record<string, number>>;
}

export function endpointsOf(pods: readonly Pod[]): Endpoint[] {
  return pods.map((text, index): Endpoint => {
    const [node = '', state = 'ready'] = text.split(' ');
    const terminating = state === 'serving' || state === 'ending';
    return {
      ...{ address: `10.244.${node.slice(1)}.${index + 1}`, port: 8080, portName: 'http', node, ready: state === 'ready', terminating },
      ...(state === 'ending' ? { serving: false } : {}),
    };
  });
}

/** Nodes n1 to n3 are there unless something else is said. */
export function tell({ pods, nodes = {}, drain, revision, confirmed }: Telling): ClusterState {
  const state = cluster({ pods: { web: [] }, vips: [[vip, 80, 'web']], nodes: ['n1', 'n2', 'n3'] });
  const service: ClusterService = {
    ...{ namespace: 'default', name: 'web', ports: [{ name: 'http', port: 80, protocol: 'tcp' }], endpoints: endpointsOf(pods) },
    ...(drain === undefined ? {} : { drain }),
    ...(revision === undefined ? {} : { revision }),
  };
  const all = new Map(state.nodes);
  for (const [name, difference] of Object.entries(nodes)) {
    const node = all.get(name);
    if (difference === null) all.delete(name);
    else if (node !== undefined) all.set(name, { ...node, ...difference });
  }
  return {
    ...{ ...state, nodes: all, services: new Map([['default/web', service]]) },
    ...(confirmed === undefined ? {} : { confirmed: new Map(Object.entries(confirmed)) }),
  };
}

/** `{ n1: 2, n2: 0 }`, from the kernel. */
export function weights(kernel: FakeKernel, service: string = key): Record<string, number> {
  const found = kernel.ipvs.services().find(({ id }) => 'address' in id && `${id.protocol} ${id.address}:${id.port}` === service);
  const pairs = (found?.destinations ?? []).map(({ id, spec }): [string, number] => [`n${id.address.split('.')[3]}`, spec.weight]);
  return Object.fromEntries(pairs.sort());
}

export function connect(kernel: FakeKernel, node: string, active: number, inactive = 0): void {
  kernel.ipvs.setConnections(key, `10.20.0.${node.slice(1)}:80`, active, inactive);
}

/** A director that takes cordons seriously and waits for nothing unless told to. */
export function director(options: Partial<AgentOptions> = {}, kernel?: FakeKernel, folder?: string): Rig {
  return new Rig('director', kernel, { ignoreCordon: false, ...options }, folder);
}
