/** Which nodes may be backends at all, and by which address a virtual service reaches them. */
import type { Address, ClusterState, Node } from '../model/cluster.ts';

export interface EligibilityOptions {
  /** Keep nodes that are marked unschedulable. Default false: cordoning a node takes it out. */
  readonly ignoreCordon?: boolean;
}

/** Well-known label of Kubernetes: a node that carries it, with whatever value, is no backend of a load balancer. */
export const excludeLabel = 'node.kubernetes.io/exclude-from-external-load-balancers';

export type Family = 4 | 6;

/** Canonical IPv6 text always has a colon, IPv4 text never. */
export function familyOf(address: Address): Family {
  return address.includes(':') ? 6 : 4;
}

/** Why a node is no backend, in words; undefined when it is one. */
export function ineligibility(node: Node, state: Pick<ClusterState, 'nodeLabels'>, options: EligibilityOptions = {}): string | undefined {
  if (!node.ready) return 'not ready';
  if (node.unschedulable && options.ignoreCordon !== true) return 'unschedulable';
  if (Object.hasOwn(node.labels, excludeLabel)) return `carries label ${excludeLabel}`;
  for (const [label, value] of Object.entries(state.nodeLabels)) {
    if (!Object.hasOwn(node.labels, label) || node.labels[label] !== value) return `lacks label ${label}=${value}`;
  }
  return undefined;
}

/** The nodes that may be backends, sorted by name. */
export function eligibleNodes(state: Pick<ClusterState, 'nodes' | 'nodeLabels'>, options: EligibilityOptions = {}): Node[] {
  return [...state.nodes.values()]
    .filter((node) => ineligibility(node, state, options) === undefined)
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** {@link eligibleNodes}, ready to be asked about many virtual services. */
export interface Eligible {
  readonly nodes: readonly Node[];
  readonly names: ReadonlySet<string>;
}

export function selectEligible(state: Pick<ClusterState, 'nodes' | 'nodeLabels'>, options: EligibilityOptions = {}): Eligible {
  const nodes = eligibleNodes(state, options);
  return { nodes, names: new Set(nodes.map(({ name }) => name)) };
}

/** The first address of a family, in the order the node gives them; undefined when it has none. */
export function nodeAddress(node: Node, family: Family): Address | undefined {
  return node.addresses.find((address) => familyOf(address) === family);
}
