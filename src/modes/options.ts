/** Everything that can be chosen about an agent, already validated. */
import type { MasqueradePolicy } from '../desired/types.ts';
import type { GuardOptions } from '../reconcile/guard.ts';

export type Mode = 'director' | 'realserver';

export interface AgentOptions {
  readonly mode: Mode;
  /** Name of this node in the cluster. */
  readonly nodeName: string;
  /** Interface that faces the segment. */
  readonly interface: string;
  /** Device that holds the VIPs. */
  readonly vipInterface: string;
  /** Cluster file. */
  readonly sourceFile: string;
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
