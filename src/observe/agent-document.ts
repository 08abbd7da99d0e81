/** What a running agent says of itself over its socket. */
import type { Address, Problem, Reason, ReasonCode, VirtualServiceKey } from '../model/cluster.ts';

export interface AgentFailure {
  readonly op: string;
  readonly object: string;
  readonly errno: string;
  readonly message: string;
}

export interface AgentDocument {
  readonly version: string;
  readonly mode: 'director' | 'realserver';
  readonly node: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly interface: string;
  readonly vipInterface: string;
  readonly source: {
    readonly file: string;
    readonly synced: boolean;
    /** When the configuration in force was accepted; null before the first. */
    readonly acceptedAt: string | null;
    /** Newer input that was refused; null when the newest was accepted. */
    readonly refused: { readonly at: string; readonly problems: readonly Problem[] } | null;
    readonly warnings: readonly Problem[];
  };
  readonly loop: {
    readonly passes: number;
    readonly written: number;
    readonly doubts: number;
    readonly lastPass: { readonly at: string; readonly milliseconds: number; readonly written: number; readonly full: boolean } | null;
    readonly attempts: number;
    readonly nextRetryMilliseconds: number | null;
  };
  /** Why removals are held back, in words. */
  readonly held: string | null;
  readonly failures: readonly AgentFailure[];
  readonly vips: readonly {
    readonly address: Address;
    readonly announced: boolean | null;
    readonly reason: { readonly code: ReasonCode; readonly message: string } | null;
    readonly conflicts: number;
  }[];
  /** Virtual services that are not, or not wholly, in force. */
  readonly reasons: Readonly<Record<VirtualServiceKey, Reason>>;
  readonly foreign: readonly { readonly key: string; readonly message: string }[];
}
