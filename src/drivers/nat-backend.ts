/** What writes translation rules: nftables or legacy iptables. Callers do not know which. */
import type { DesiredNat, DesiredNatService } from '../desired/types.ts';
import type { VirtualServiceKey } from '../model/cluster.ts';
import type { DriverOutcome } from './outcome.ts';

export type NatBackendKind = 'nftables' | 'iptables';

/** What was chosen, and why, for people. */
export interface NatChosen {
  readonly kind: NatBackendKind;
  readonly reason: string;
}

/** One thing that a plan would do, for people. */
export interface NatChangeText {
  /** VIP it is about; undefined for rules common to all. */
  readonly vip: string | undefined;
  /** `createElement`, `addChain`, … */
  readonly op: string;
  readonly text: string;
  /** Absent: the backend that made the plan. */
  readonly kind?: NatBackendKind;
}

/** Made by a backend for itself; others look at this much of it. */
export interface NatBackendPlan {
  /** Virtual services whose rules change, in order of their keys. */
  readonly services: readonly { readonly key: VirtualServiceKey; readonly change: 'add' | 'change' | 'remove' }[];
  /** Nothing is to be written. */
  readonly empty: boolean;
  /** Worked out when asked for only. */
  readonly changes: () => readonly NatChangeText[];
}

export interface NatBackend {
  readonly kind: NatBackendKind;
  /** Why it is this one, where that was chosen. */
  readonly chosen?: NatChosen | undefined;
  /** What cannot be done or known here, for people. */
  readonly warnings?: readonly string[];
  /** What the kernel holds is known: a plan for a few keys costs what they cost. */
  readonly known: boolean;
  /** Virtual services held, as far as known. */
  readonly size: number;
  /** Connections per virtual service since its rule was made. */
  connections(): Promise<ReadonlyMap<VirtualServiceKey, number>>;
  /** In the kernel as last asked for. */
  programmed(key: VirtualServiceKey): boolean;
  /** The next {@link observe} reads the kernel. */
  forget(): void;
  observe(): Promise<void>;
  /** All virtual services held, as if they were asked for: what a restart begins with. Only after {@link observe}. */
  held(): Iterable<DesiredNatService>;
  /** One of them. */
  heldAt(key: VirtualServiceKey): DesiredNatService | undefined;
  /** The same for clients on this machine: one of {@link DesiredNat.inside}. */
  insideAt(key: VirtualServiceKey): DesiredNatService | undefined;
  /** Of these only, or of everything: then whatever else is ours goes. */
  plan(desired: DesiredNat, keys?: ReadonlySet<VirtualServiceKey>): Promise<NatBackendPlan>;
  /** Everything of ours gone. */
  removal(): Promise<NatBackendPlan>;
  /** A plan of this backend. Rejects when the kernel refuses; then nothing is known any more. */
  apply(plan: NatBackendPlan): Promise<DriverOutcome>;
}
