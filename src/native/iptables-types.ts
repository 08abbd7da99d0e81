/** The nat table of legacy iptables, as the agent uses it: chains of a prefix, and jumps to them. */

/** `ip` is the table of iptables, `ip6` that of ip6tables. */
export type IptablesFamily = 'ip' | 'ip6';

/** Chains of the kernel in the table `nat`. */
export type BuiltinChain = 'PREROUTING' | 'INPUT' | 'OUTPUT' | 'POSTROUTING';

/** `-s` or `-d`: addresses inside the prefix, or with `inverted` all others. Host bits do not count. */
export interface IptablesPrefix {
  readonly address: string;
  /** 1 to 32 or 128 bits. */
  readonly length: number;
  readonly inverted?: boolean;
}

export interface IptablesMark {
  /** Unsigned, 32 bits. */
  readonly value: number;
  readonly mask: number;
}

export type IptablesTarget =
  /** `-j <chain>`; the chain must be of the same program. */
  | { readonly kind: 'jump'; readonly chain: string }
  /** `-j MARK --set-xmark value/mask`. */
  | ({ readonly kind: 'setMark' } & IptablesMark)
  /** `-j DNAT --to-destination address:port`; without a port the port stays. */
  | { readonly kind: 'dnat'; readonly address: string; readonly port?: number }
  /** `-j MASQUERADE`. */
  | { readonly kind: 'masquerade' };

/** One rule: all that is given must match. */
export interface IptablesRule {
  readonly source?: IptablesPrefix;
  readonly destination?: IptablesPrefix;
  /** IPPROTO number, 1 to 255. */
  readonly protocol?: number;
  /** `--dport`: one port, of TCP (6), UDP (17) or SCTP (132). */
  readonly port?: number;
  /** `--syn`: only segments that open a connection. With protocol 6 (TCP) and a port. Default false. */
  readonly opening?: boolean;
  /** `-m mark --mark value/mask`. */
  readonly mark?: IptablesMark;
  /** `-m comment`: 1 to 255 bytes without control characters. */
  readonly comment?: string;
  /** `-m statistic --mode random`: above 0, at most 1; the kernel keeps 31 bits of it. */
  readonly probability?: number;
  readonly target: IptablesTarget;
}

export interface IptablesChain {
  /** Exactly the prefix, or the prefix, a hyphen and more; 28 characters at most. */
  readonly name: string;
  readonly rules: readonly IptablesRule[];
}

/** An unconditional rule in a chain of the kernel. */
export interface IptablesJump {
  readonly from: BuiltinChain;
  readonly to: string;
}

/** Everything that is ours in the table. What is ours there and not in here is removed by a commit. */
export interface IptablesProgram {
  readonly jumps: readonly IptablesJump[];
  readonly chains: readonly IptablesChain[];
}

export interface ListedIptablesRule {
  /** Undefined when the rule says more than the vocabulary can; `foreign` then describes it. */
  readonly rule: IptablesRule | undefined;
  readonly foreign: string | undefined;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface ListedIptablesChain {
  readonly name: string;
  readonly rules: readonly ListedIptablesRule[];
}

export interface IptablesListing {
  /** Whether the namespace has the table at all; reading does not make it. */
  readonly present: boolean;
  /** Rules that lead to our chains, in chains that are not ours. */
  readonly jumps: readonly (ListedIptablesRule & { readonly from: string })[];
  readonly chains: readonly ListedIptablesChain[];
}

/** What a commit came to. */
export interface IptablesOutcome {
  /** False when all was as wanted: nothing was written. */
  readonly changed: boolean;
  /** How often the table was read: more than once when somebody changed it without the lock meanwhile. */
  readonly attempts: number;
  readonly lockWaitMs: number;
  /** Chains made, chains with other rules, chains gone; jumps made or gone. */
  readonly added: number;
  readonly rewritten: number;
  readonly removed: number;
  readonly jumps: number;
}

/** What the agent needs of {@link file://./iptables.ts}; a fake has the same. */
export interface IptablesPort {
  list(): Promise<IptablesListing>;
  commit(program: IptablesProgram): Promise<IptablesOutcome>;
  close(): Promise<void>;
}
