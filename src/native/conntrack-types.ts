import type { KernelError } from './errors.ts';
import type { Protocol } from './ipvs-types.ts';

/** Where flows were going when their first packet came, before any translation. */
export interface ConntrackDestination {
  readonly address: string;
  /** Default: every port. */
  readonly port?: number;
}

/** Which entries to read; what is left out does not limit. */
export interface ConntrackFilter {
  readonly family?: 'ipv4' | 'ipv6';
  readonly protocol?: Protocol;
  /** Original destinations. An empty list is no entry at all. */
  readonly destinations?: readonly ConntrackDestination[];
}

/**
 * Entries as typed arrays over one ArrayBuffer. Addresses are 16 bytes a row in network order, of which
 * IPv4 uses the first four; everything else is one value a row.
 */
export interface ConntrackColumns {
  readonly count: number;
  /**
   * nf_ct_get_id(): a hash of the entry's memory address and its original tuple. Two entries that live
   * at the same time have different ids; one that takes the place of another usually has the same.
   */
  readonly id: Uint32Array;
  /** IPS_* bits (linux/netfilter/nf_conntrack_common.h). */
  readonly status: Uint32Array;
  readonly mark: Uint32Array;
  /** Seconds until the entry is forgotten; 0 for a flow that is offloaded. */
  readonly timeout: Uint32Array;
  readonly originalSourcePort: Uint16Array;
  readonly originalDestinationPort: Uint16Array;
  readonly replySourcePort: Uint16Array;
  readonly replyDestinationPort: Uint16Array;
  readonly zone: Uint16Array;
  /** 4 or 6. */
  readonly family: Uint8Array;
  /** IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP. */
  readonly protocol: Uint8Array;
  /** In which directions the zone counts: bit 0 the original, bit 1 the reply; 0 in the default zone. */
  readonly zoneDirections: Uint8Array;
  readonly originalSource: Uint8Array;
  readonly originalDestination: Uint8Array;
  /** Who answers: the translated destination, or the original one where nothing translates. */
  readonly replySource: Uint8Array;
  readonly replyDestination: Uint8Array;
}

export interface ConntrackEndpoint {
  readonly address: string;
  readonly port: number;
}

/** One direction of a flow. */
export interface ConntrackTuple {
  readonly source: ConntrackEndpoint;
  readonly destination: ConntrackEndpoint;
}

/** A row of {@link ConntrackColumns} as an object, for people and tests. */
export interface ConntrackEntry {
  readonly protocol: Protocol;
  readonly original: ConntrackTuple;
  readonly reply: ConntrackTuple;
  readonly id: number;
  readonly status: number;
  readonly mark: number;
  readonly timeoutSeconds: number;
  /** 0 is the default zone. */
  readonly zone: number;
  /** `both` also in the default zone. */
  readonly zoneDirection: 'original' | 'reply' | 'both';
}

/** One entry that the kernel refused to delete. */
export interface ConntrackFailure {
  readonly row: number;
  readonly error: KernelError;
}

/** What came of {@link ConntrackPort.remove}. */
export interface ConntrackRemoval {
  readonly removed: number;
  /** Rows of entries that had ended, or whose place another flow has taken: nothing was deleted for them. */
  readonly gone: readonly number[];
  readonly failed: readonly ConntrackFailure[];
}

/** How full the table of the namespace is. */
export interface ConntrackUsage {
  readonly entries: number;
  /** net.netfilter.nf_conntrack_max: above it the kernel drops what opens a new flow. */
  readonly limit: number;
}

/** The seam between drivers and the kernel; {@link file://./conntrack.ts} implements it, so does the fake. */
export interface ConntrackPort {
  entries(filter?: ConntrackFilter): Promise<ConntrackColumns>;
  remove(entries: ConntrackColumns, rows?: Iterable<number>): Promise<ConntrackRemoval>;
}
