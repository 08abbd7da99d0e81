/** What a running agent says of itself over its socket. */
import type { Address, Problem, Reason, ReasonCode, VirtualServiceKey, WatchStatus } from '../model/cluster.ts';
import type { BgpDocument } from './bgp-document.ts';

export interface AgentFailure {
  readonly op: string;
  readonly object: string;
  readonly errno: string;
  readonly message: string;
}

/** A realserver's word to the directors. */
export interface LeaseDocument {
  /** `namespace/name` */
  readonly lease: string;
  /** EndpointSlices up to this revision are in the kernel; null before the first pass. */
  readonly programmed: number | null;
  /** The revision that the API server has acknowledged last. */
  readonly confirmed: number | null;
  /** Since it did, milliseconds. */
  readonly silentMilliseconds: number | null;
  /** Since the last success. */
  readonly failures: number;
  readonly error: string | null;
}

/** A director's word to people. */
export interface EventsDocument {
  /** Reasons that hold now. */
  readonly holding: number;
  /** Of those, not written yet. */
  readonly waiting: number;
  /** Since the start. */
  readonly written: number;
  /** Given up since the start: too many, or refused by the server. */
  readonly dropped: number;
  readonly failures: number;
  readonly error: string | null;
}

export interface KubernetesDocument {
  /** `https://10.96.0.1:443` */
  readonly server: string;
  readonly configMap: { readonly namespace: string; readonly name: string; readonly key: string };
  readonly watches: readonly WatchStatus[];
  /** Null on a director. */
  readonly lease: LeaseDocument | null;
  /** Null on a realserver, and with --events=false. */
  readonly events: EventsDocument | null;
}

export interface AgentDocument {
  readonly version: string;
  /** As it was started. */
  readonly mode: 'director' | 'bgp' | 'realserver' | 'director,realserver';
  readonly node: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly interface: string;
  readonly vipInterface: string;
  readonly source: {
    readonly kind: 'file' | 'kubernetes';
    /** Null when the cluster comes from the Kubernetes API. */
    readonly file: string | null;
    /** Null when it comes from a file. */
    readonly kubernetes: KubernetesDocument | null;
    readonly synced: boolean;
    /** When the configuration in force was accepted; null before the first. */
    readonly acceptedAt: string | null;
    /** When anything in what is in force changed last: the configuration, or the cluster. */
    readonly changedAt: string | null;
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
  /** What writes translation rules, and why it does; null when nothing does, or none was needed yet. */
  readonly nat: { readonly kind: 'nftables' | 'iptables'; readonly reason: string } | null;
  /** Why this agent leaves its work to another for the time being; null when it does not. */
  readonly standby: Reason | null;
  /** Between the agent and its BGP daemon; null but in mode bgp. */
  readonly bgp: BgpDocument | null;
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
  /** What is done without: settings that this kernel does not have, or that may not be written. */
  readonly warnings: readonly string[];
}
