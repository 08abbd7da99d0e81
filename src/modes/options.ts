/** Everything that can be chosen about an agent, already validated. */
import type { MasqueradePolicy } from '../desired/types.ts';
import type { GuardOptions } from '../reconcile/guard.ts';

export type Mode = 'director' | 'realserver';

/** Where the cluster is described. */
export type SourceOptions =
  | { readonly kind: 'file'; readonly file: string }
  | {
      readonly kind: 'kubernetes';
      /** Namespace of the ConfigMap; undefined: that of this process. */
      readonly namespace: string | undefined;
      /** The ConfigMap. */
      readonly name: string;
      /** Key of its `data`. */
      readonly key: string;
      /** Undefined: the service account of this Pod. */
      readonly kubeconfig: string | undefined;
    };

export interface DefaultListener {
  readonly namespace: string;
  readonly service: string;
  readonly portName: string;
  readonly port: number;
}

export interface AgentOptions {
  readonly mode: Mode;
  /** Name of this node in the cluster. */
  readonly nodeName: string;
  /** Interface that faces the segment. */
  readonly interface: string;
  /** Device that holds the VIPs. */
  readonly vipInterface: string;
  readonly source: SourceOptions;
  /** What answers on VIPs of the pool that have no port of their own. */
  readonly defaultListener: DefaultListener | undefined;
  /** Namespace of the Leases of realservers; undefined: that of this process. */
  readonly agentNamespace: string | undefined;
  /** Tell the cluster in Events why something is not in force. */
  readonly events: boolean;
  /** Folder of the status socket and of the sysctl journal. */
  readonly stateDirectory: string;
  readonly auditMilliseconds: number;
  readonly arpRefreshMilliseconds: number;
  readonly arpFramesPerSecond: number;
  readonly guard: GuardOptions;
  /** How long a change waits for the agents of other machines, milliseconds (reconcile/handover.ts). */
  readonly handoverMilliseconds: number;
  /** Longest time that a destination which nobody wants any more keeps its connections, milliseconds; a Service may say otherwise. */
  readonly drainMilliseconds: number;
  /** Longest wait for a node to confirm that it has programmed its pods, milliseconds. */
  readonly readinessMilliseconds: number;
  /** What becomes of the destination of an eligible node without pods: none, or one of weight 0. */
  readonly idleDestinations: 'remove' | 'keep';
  readonly weightOverride: boolean;
  readonly ignoreCordon: boolean;
  readonly masquerade: MasqueradePolicy;
  /** Settings below net/ipv4/vs. */
  readonly ipvsSysctls: ReadonlyMap<string, string>;
}
