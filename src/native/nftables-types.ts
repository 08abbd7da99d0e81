/**
 * nftables objects (linux/netfilter/nf_tables.h) as plain data, in the words of nft(8). A closed
 * vocabulary: what the agent needs, in the register layout that nft itself uses, so that
 * `nft list ruleset` prints what was written.
 */

export type NftFamily = 'ip' | 'ip6' | 'inet';

export interface TableId {
  readonly family: NftFamily;
  readonly name: string;
}

/** A base chain's hook; priority as a number (dstnat is -100, srcnat 100). */
export interface ChainHook {
  readonly type: 'nat' | 'filter' | 'route';
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  readonly priority: number;
}

export interface Chain {
  readonly name: string;
  /** Absent: a regular chain, reached only by jump or goto. */
  readonly hook?: ChainHook;
}

/** The data types of set keys and values that we use, by their nft names. */
export type DataType = 'ipv4_addr' | 'ipv6_addr' | 'inet_proto' | 'inet_service' | 'mark' | 'slot';
// "slot" is the result of `numgen random mod N`; nft shows it through the key's typeof userdata.

export interface SetSpec {
  readonly name: string;
  readonly key: readonly DataType[];
  /** A map's value: a concatenation of types, or a verdict. Absent: a plain set. */
  readonly value?: readonly DataType[] | 'verdict';
  /** Every element counts packets and bytes (NFTA_SET_EXPR counter). Default false. */
  readonly counter?: boolean;
}

export type Verdict = { readonly verdict: 'accept' | 'drop' | 'return' } | { readonly verdict: 'goto' | 'jump'; readonly chain: string };

/**
 * Concatenated fields in set order. Addresses are canonical strings; protocols and ports and slots
 * and marks are numbers.
 */
export type FieldValue = string | number;

export interface Element {
  readonly key: readonly FieldValue[];
  /** For maps. */
  readonly value?: readonly FieldValue[] | Verdict;
  /** Shown by nft as the element's comment; at most 127 bytes. */
  readonly comment?: string;
}

/** What a key is made of when a rule looks it up. */
export type KeyPart =
  | 'ip saddr'
  | 'ip daddr'
  | 'ip6 saddr'
  | 'ip6 daddr'
  | 'meta l4proto'
  | 'th sport'
  | 'th dport'
  | 'ct original ip daddr'
  | 'ct original ip6 daddr'
  /** Only after a `protocol` statement: without one nft knows no type for it. */
  | 'ct original proto-dst'
  | { readonly numgen: 'random'; readonly modulus: number };

/** The rule vocabulary: each kind is one nft statement or match, compiled to its expressions. */
export type Statement =
  /** `<key> vmap @map` */
  | { readonly kind: 'vmap'; readonly key: readonly KeyPart[]; readonly map: string }
  /** `<key> @set` as a match; inverted: `!=`. */
  | { readonly kind: 'inSet'; readonly key: readonly KeyPart[]; readonly set: string; readonly inverted?: boolean }
  /** `meta l4proto <number>` */
  | { readonly kind: 'protocol'; readonly protocol: number }
  /** `ip saddr <prefix>`, or `!=` it. Bits below the prefix do not count, and are listed as zeros. */
  | { readonly kind: 'source' | 'destination'; readonly address: string; readonly prefix: number; readonly inverted?: boolean }
  /** `dnat ip to <key> map @map` (value: address . port); `dnat ip6` with an IPv6 address in the key */
  | { readonly kind: 'dnatMap'; readonly key: readonly KeyPart[]; readonly map: string }
  /** `meta mark set meta mark | <bits>` */
  | { readonly kind: 'markOr'; readonly bits: number }
  /** `meta mark & <mask> == <value>` */
  | { readonly kind: 'markIs'; readonly mask: number; readonly value: number }
  /** `masquerade` */
  | { readonly kind: 'masquerade' }
  /** `counter` */
  | { readonly kind: 'counter' }
  /** `iifname "<name>"`: 1 to 15 bytes, no wildcard. */
  | { readonly kind: 'inputInterface'; readonly name: string }
  /** `ct status dnat`: the destination of the connection was translated. */
  | { readonly kind: 'destinationTranslated' }
  /** `tcp flags syn`: set, whatever the other flags. Only after `protocol` 6. */
  | { readonly kind: 'tcpSyn' }
  /** `tcp option maxseg size set <bytes>`: the kernel lowers it only, and adds none. Only after `protocol` 6. */
  | { readonly kind: 'maxSegment'; readonly bytes: number }
  | { readonly kind: 'verdict'; readonly verdict: Verdict };

export interface Rule {
  readonly chain: string;
  readonly statements: readonly Statement[];
  /** Kept in the rule's userdata and shown by nft as `comment`; at most 127 bytes. */
  readonly comment?: string;
}

/**
 * Elements as columns: the fast way for many of them, because nothing is built per element. Layout as in
 * {@link ElementColumns}, and what elements() returned is accepted as it is. Row i of every column
 * belongs together; what the set does not have may be absent.
 */
export interface ElementBatch {
  readonly count: number;
  /** `count` keys, fields padded to 4 bytes each; numbers of type mark and slot in host byte order. */
  readonly keys: Uint8Array;
  /** For maps to data, laid out like keys. */
  readonly values?: Uint8Array;
  /** For verdict maps: NFT_* or NF_* code; with {@link chain} and {@link chains} for goto and jump. */
  readonly verdict?: Int32Array;
  /** Index into {@link chains}; 65535 where there is none. */
  readonly chain?: Uint16Array;
  readonly chains?: readonly string[];
  /** Index into {@link comments}; 0 is "none". */
  readonly comment?: Uint32Array;
  readonly comments?: readonly string[];
}

/** One line of an nft script. `add` tolerates existing objects, `create` does not; `delete` requires the object. */
export type NftOperation =
  | { readonly op: 'addTable' | 'createTable' | 'deleteTable' | 'flushTable'; readonly table: TableId }
  | { readonly op: 'addChain' | 'createChain' | 'deleteChain' | 'flushChain'; readonly table: TableId; readonly chain: Chain }
  | { readonly op: 'addRule' | 'insertRule'; readonly table: TableId; readonly rule: Rule }
  | { readonly op: 'replaceRule'; readonly table: TableId; readonly handle: bigint; readonly rule: Rule }
  | { readonly op: 'deleteRule'; readonly table: TableId; readonly chain: string; readonly handle: bigint }
  | { readonly op: 'addSet' | 'createSet' | 'deleteSet' | 'flushSet'; readonly table: TableId; readonly set: SetSpec }
  | {
      readonly op: 'addElements' | 'createElements' | 'deleteElements';
      readonly table: TableId;
      readonly set: SetSpec;
      readonly elements: readonly Element[];
    }
  | {
      /** The same three with columns in place of objects. */
      readonly op: 'addElementBatch' | 'createElementBatch' | 'deleteElementBatch';
      readonly table: TableId;
      readonly set: SetSpec;
      readonly batch: ElementBatch;
    };

/** A rule as the kernel holds it. `statements` is absent when it uses expressions outside our vocabulary. */
export interface ListedRule {
  readonly chain: string;
  readonly handle: bigint;
  readonly comment: string | undefined;
  readonly statements: readonly Statement[] | undefined;
}

export interface ListedSet extends SetSpec {
  readonly handle: bigint;
  /** False when the set has key or value types outside our vocabulary; key is [] then. */
  readonly known: boolean;
}

export interface ListedChain extends Chain {
  readonly handle: bigint;
  /** On chains with a hook: packets that no rule decides are dropped. Absent: accepted, as on chains that are made here. */
  readonly policy?: 'drop';
}

export interface TableState {
  /** `flags dormant`: none of its chains sees a packet. */
  readonly dormant: boolean;
  readonly chains: readonly ListedChain[];
  readonly rules: readonly ListedRule[];
  readonly sets: readonly ListedSet[];
}

/** Elements as columns. Fields of keys and values are padded to 4 bytes each, as in the kernel's registers. */
export interface ElementColumns {
  readonly count: number;
  readonly keyLength: number;
  readonly keys: Uint8Array;
  /** 0 for plain sets and verdict maps. */
  readonly valueLength: number;
  readonly values: Uint8Array;
  /** For verdict maps: index into {@link chains} of the goto/jump target; 65535 where there is none. */
  readonly chain: Uint16Array;
  /** NFT_* verdict code (linux/netfilter/nf_tables.h enum nft_verdicts), 0 outside verdict maps. */
  readonly verdict: Int32Array;
  readonly chains: readonly string[];
  /** Counters; zeros where the set has none. */
  readonly packets: Float64Array;
  readonly bytes: Float64Array;
  /** Index into {@link comments}; 0 is "none". */
  readonly comment: Uint32Array;
  readonly comments: readonly string[];
  /**
   * NFT_SET_ELEM_*: 1 for the end of an interval, 2 for the catch-all element `*` (its key is zeros).
   * Neither is possible in a set of ours, both in a foreign one. Absent: all zero.
   */
  readonly flags?: Uint32Array;
}

export interface CommitOptions {
  /** Refuse (ERESTART) unless the ruleset generation is still this one (NFNL_BATCH_GENID). */
  readonly ifGeneration?: number;
}

export type NftEvent =
  | {
      readonly type: 'change';
      /** NFT_MSG_* name in lower case without the prefix: `newsetelem`, `deltable`. */
      readonly message: string;
      readonly family: number;
      /** Table the message is about; undefined for generation messages. */
      readonly table: string | undefined;
      /** True when this handle's own commit did it. */
      readonly own?: boolean;
      /** Equal messages in a row are one event: how many. Default 1. */
      readonly count?: number;
      /** Netlink port of the process that did it, when the kernel says (NFTA_GEN_PROC_PID of newgen): its pid. */
      readonly pid: number | undefined;
      readonly generation: number | undefined;
    }
  | { readonly type: 'overrun' };

/** The seam between drivers and the kernel. */
export interface NftablesPort {
  generation(): Promise<number>;
  tables(): Promise<readonly TableId[]>;
  /** Chains, rules and sets of one table, without elements. Throws KernelError ENOENT without the table. */
  list(table: TableId): Promise<TableState>;
  elements(table: TableId, set: string): Promise<ElementColumns>;
  /** Atomic: all or nothing. KernelError.index is the operation at fault. */
  commit(operations: readonly NftOperation[], options?: CommitOptions): Promise<void>;
  /** Same encoding, judged by the kernel, never applied. */
  check(operations: readonly NftOperation[]): Promise<void>;
  watch(options?: { signal?: AbortSignal }): AsyncIterable<NftEvent>;
}
