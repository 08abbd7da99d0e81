/**
 * The words of IPVS (linux/ip_vs.h) as TypeScript types. Addresses are canonical strings; bulk
 * data are columns: one typed array per attribute, row i of each belonging together.
 */
import type { KernelError } from './errors.ts';

export type Protocol = 'tcp' | 'udp' | 'sctp';

/** How packets reach a destination: IP_VS_CONN_F_MASQ, _LOCALNODE, _TUNNEL, _DROUTE. */
export type ForwardingMethod = 'masquerade' | 'local' | 'tunnel' | 'direct';

/** IP_VS_CONN_F_TUNNEL_TYPE_IPIP, _GUE, _GRE. */
export type TunnelType = 'ipip' | 'gue' | 'gre';

/** A virtual service is named by address, port and protocol, or by a firewall mark. */
export type ServiceId =
  | { readonly protocol: Protocol; readonly address: string; readonly port: number }
  | { readonly fwmark: number; readonly family: 'ipv4' | 'ipv6' };

export interface ServiceSpec {
  /** Scheduler name as the kernel module has it: rr, wrr, lc, wlc, sh, mh, … */
  readonly scheduler: string;
  /** IP_VS_SVC_F_SCHED1..3; for sh and mh 1 is "fallback" and 2 is "port". Default: none. */
  readonly schedulerFlags?: readonly (1 | 2 | 3)[];
  /** Seconds a client keeps its destination (IP_VS_SVC_F_PERSISTENT). Absent: not persistent. */
  readonly persistenceSeconds?: number;
  /** Prefix length that groups clients for persistence. Default 32 (IPv4) or 128 (IPv6). */
  readonly persistencePrefix?: number;
  /** IP_VS_SVC_F_ONEPACKET, for UDP. Default false. */
  readonly onePacket?: boolean;
  /** Persistence engine (`sip`). Default: none. */
  readonly persistenceEngine?: string;
}

export interface DestinationId {
  readonly address: string;
  /** 0 is legal only where the service port is 0 (fwmark). */
  readonly port: number;
}

export interface DestinationSpec {
  readonly forward: ForwardingMethod;
  /** 0 keeps established connections and takes no new ones. */
  readonly weight: number;
  /** No new connections above this many; 0 is no limit. Default 0. */
  readonly upperThreshold?: number;
  /** Accept again below this many; 0 is three quarters of the upper (kernel rule). Default 0. */
  readonly lowerThreshold?: number;
  /** Only with forward "tunnel". Default ipip. */
  readonly tunnel?: { readonly type: TunnelType; readonly port?: number; readonly checksum?: 'none' | 'plain' | 'remote' };
}

/** IPVS_*_ATTR_STATS64: totals since creation (or zero()), and rates per second (2 s estimator). */
export interface Statistics {
  readonly connections: number;
  readonly inPackets: number;
  readonly outPackets: number;
  readonly inBytes: number;
  readonly outBytes: number;
  readonly connectionsPerSecond: number;
  readonly inPacketsPerSecond: number;
  readonly outPacketsPerSecond: number;
  readonly inBytesPerSecond: number;
  readonly outBytesPerSecond: number;
}

export interface Destination {
  readonly id: DestinationId;
  readonly spec: DestinationSpec;
  readonly activeConnections: number;
  readonly inactiveConnections: number;
  readonly persistentConnections: number;
  readonly statistics: Statistics;
}

export interface Service {
  readonly id: ServiceId;
  readonly spec: ServiceSpec;
  readonly statistics: Statistics;
  readonly destinations: readonly Destination[];
}

/** Columns in the order of {@link Statistics}; row stride 10: value k of row i is at i * 10 + k. */
export type StatisticsColumn = Float64Array;

export interface ServiceColumns {
  readonly count: number;
  /** 4 or 6. */
  readonly family: Uint8Array;
  /** IPPROTO number; 0 for a fwmark service. */
  readonly protocol: Uint8Array;
  /** 16 bytes a row, network order; an IPv4 address fills the first four. */
  readonly address: Uint8Array;
  readonly port: Uint16Array;
  readonly fwmark: Uint32Array;
  /** IP_VS_SVC_F_* bits, IP_VS_SVC_F_HASHED cleared. */
  readonly flags: Uint32Array;
  /** Persistence timeout, seconds. */
  readonly timeout: Uint32Array;
  /** Persistence prefix length, 0..128. */
  readonly prefix: Uint8Array;
  /** Index into {@link IpvsSnapshot.names}. */
  readonly scheduler: Uint16Array;
  /** Index into {@link IpvsSnapshot.names}; 0 is "". */
  readonly persistenceEngine: Uint16Array;
  readonly statistics: StatisticsColumn;
  /** Destinations of row i are rows firstDestination[i] .. firstDestination[i + 1] - 1; count + 1 values. */
  readonly firstDestination: Uint32Array;
}

export interface DestinationColumns {
  readonly count: number;
  readonly family: Uint8Array;
  readonly address: Uint8Array;
  readonly port: Uint16Array;
  /** IP_VS_CONN_F_FWD_MASK value: 0 masquerade, 1 local, 2 tunnel, 3 direct, 4 bypass. */
  readonly forward: Uint8Array;
  readonly weight: Int32Array;
  readonly upperThreshold: Uint32Array;
  readonly lowerThreshold: Uint32Array;
  readonly tunnelType: Uint8Array;
  readonly tunnelPort: Uint16Array;
  readonly tunnelFlags: Uint16Array;
  readonly activeConnections: Uint32Array;
  readonly inactiveConnections: Uint32Array;
  readonly persistentConnections: Uint32Array;
  readonly statistics: StatisticsColumn;
}

/** All services and destinations at one moment of the namespace's queue. */
export interface IpvsSnapshot {
  /** Strings the columns point into; index 0 is always "". */
  readonly names: readonly string[];
  readonly services: ServiceColumns;
  readonly destinations: DestinationColumns;
}

export type IpvsOperation =
  | { readonly op: 'addService' | 'setService'; readonly service: ServiceId; readonly spec: ServiceSpec }
  | { readonly op: 'deleteService'; readonly service: ServiceId }
  | {
      readonly op: 'addDestination' | 'setDestination';
      readonly service: ServiceId;
      readonly destination: DestinationId;
      readonly spec: DestinationSpec;
    }
  | { readonly op: 'deleteDestination'; readonly service: ServiceId; readonly destination: DestinationId };

export interface Failure<Operation> {
  readonly index: number;
  readonly operation: Operation;
  readonly error: KernelError;
}

/** Ordered, not atomic: what failed is listed, the rest took effect. */
export interface ApplyResult<Operation> {
  readonly applied: number;
  readonly failed: readonly Failure<Operation>[];
}

/** Seconds (IPVS_CMD_ATTR_TIMEOUT_*). */
export interface IpvsTimeouts {
  readonly tcp: number;
  readonly tcpFin: number;
  readonly udp: number;
}

export interface IpvsInfo {
  /** `1.2.1` */
  readonly version: string;
  readonly connectionTableSize: number;
}

/** A kernel thread that tells connections to other hosts, or hears of theirs (IPVS_DAEMON_ATTR_*); one per role and namespace. */
export interface SyncDaemon {
  /** `master` sends (IP_VS_STATE_MASTER), `backup` receives (IP_VS_STATE_BACKUP). */
  readonly role: 'master' | 'backup';
  /** The interface whose segment the messages cross. */
  readonly interface: string;
  /** 0 to 255. A backup takes messages of its own number only; one of number 0 takes all. */
  readonly syncId: number;
  /** Largest message, bytes. Default: what the interface's MTU holds. */
  readonly maxLength?: number;
  /** Multicast group, of either family. Default 224.0.0.81. */
  readonly group?: string;
  /** UDP port. Default 8848. */
  readonly port?: number;
  /** Hops that messages may take. Default 1. */
  readonly ttl?: number;
}

/** The seam between drivers and the kernel; {@link file://./ipvs.ts} implements it, so does the fake. */
export interface IpvsPort {
  info(): Promise<IpvsInfo>;
  /** Whole table as columns. Retried on interruption at most 3 times. */
  snapshot(): Promise<IpvsSnapshot>;
  apply(operations: readonly IpvsOperation[]): Promise<ApplyResult<IpvsOperation>>;
}

/** The same for connection synchronization; {@link file://./ipvs.ts} says what each does and throws. */
export interface IpvsSyncPort {
  syncDaemons(): Promise<readonly SyncDaemon[]>;
  startSyncDaemon(daemon: SyncDaemon): Promise<void>;
  stopSyncDaemon(role: SyncDaemon['role']): Promise<void>;
}
