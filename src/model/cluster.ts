/**
 * One consistent picture of what the user asked for: the only thing that flows from sources to
 * desired state. Immutable; a source that publishes a new state reuses the very objects that did
 * not change, so that identity (`===`) means "unchanged" everywhere downstream.
 */

import type { BgpConfig } from './bgp.ts';

/** Canonical text of an IP address, as {@link file://./address.ts} prints it: the identity of an address. */
export type Address = string;

export interface Node {
  readonly name: string;
  /** Node addresses in the order given; the first of a family is used for it. */
  readonly addresses: readonly Address[];
  readonly labels: Readonly<Record<string, string>>;
  readonly ready: boolean;
  readonly unschedulable: boolean;
}

export interface ServicePort {
  /** "" for the only port of a Service that has one. */
  readonly name: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
}

export interface Endpoint {
  readonly address: Address;
  /** The pod's port: where the realserver sends the packet. */
  readonly port: number;
  readonly portName: string;
  /** Node that runs the pod; undefined for endpoints outside the cluster. */
  readonly node: string | undefined;
  readonly ready: boolean;
  readonly terminating: boolean;
  /** Passes its readiness probe, whether it is terminating or not. Absent: it does when it is ready or terminating. */
  readonly serving?: boolean;
}

/** How a Service wants its nodes to be emptied; what is absent is as the agent's flags say. */
export interface DrainPolicy {
  /** Longest time that a node without ready pods stays a destination of weight 0, milliseconds. */
  readonly timeoutMilliseconds?: number;
  /** A leaving node's weight goes to 0 in `count` equal steps over `milliseconds`, not at once. */
  readonly steps?: { readonly count: number; readonly milliseconds: number };
}

export interface ClusterService {
  readonly namespace: string;
  readonly name: string;
  readonly ports: readonly ServicePort[];
  readonly endpoints: readonly Endpoint[];
  /** Kinds of Service that are never balanced: without a cluster address, or a mere name for another host. */
  readonly unsupported?: 'headless' | 'externalName';
  readonly drain?: DrainPolicy;
  /**
   * Revision of the newest EndpointSlice that these endpoints were read from: a realserver that has programmed up to
   * it knows them (`ClusterState.confirmed`). Absent where the source has no revisions. No part of a comparison.
   */
  readonly revision?: number;
}

/** `namespace/name` */
export type ServiceKey = string;

/** `tcp 192.0.2.10:80`, `udp [2001:db8::1]:53`: see virtualServiceKey(). */
export type VirtualServiceKey = string;

/** Names of the kernel's modules, without `ip_vs_`. */
export type Scheduler = 'rr' | 'wrr' | 'lc' | 'wlc' | 'dh' | 'sh' | 'mh' | 'lblc' | 'lblcr' | 'sed' | 'nq' | 'fo' | 'ovf' | 'twos';

/** How a packet in a tunnel is wrapped: IP in IP, or UDP around it (GUE, with its own port), or GRE. */
export interface TunnelEncapsulation {
  readonly type: 'ipip' | 'gue' | 'gre';
  /** UDP port of GUE; absent for the others. */
  readonly port?: number;
}

/** One VIP:port:protocol, options normalised. */
export interface VirtualService {
  readonly key: VirtualServiceKey;
  readonly address: Address;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly service: ServiceKey;
  readonly portName: string;
  readonly scheduler: Scheduler;
  /** IP_VS_SVC_F_SCHED numbers, ascending. */
  readonly schedulerFlags: readonly (1 | 2 | 3)[];
  /**
   * To nodes, whose realserver picks the pod (`direct`, `tunnel`), or straight to the pods, whose replies come back
   * through the director (`masquerade`).
   */
  readonly forward: 'direct' | 'tunnel' | 'masquerade';
  /** Only with `tunnel`. Absent: IP in IP. */
  readonly tunnel?: TunnelEncapsulation;
  /** Only with `masquerade`: pods see the director's address, so that replies find back. Absent: true. */
  readonly masqueradeSource?: boolean;
  /** Seconds for which a client keeps its destination. Absent: not persistent. */
  readonly persistenceSeconds?: number;
  /** Clients of one network of this prefix length count as one. Absent: each by itself. */
  readonly persistencePrefix?: number;
  /** Each datagram is scheduled anew; UDP only. Absent: false. */
  readonly onePacket?: boolean;
  /** For the whole virtual service; shared out among destinations by weight. 0: none. */
  readonly upperThreshold: number;
  readonly lowerThreshold: number;
}

export interface ClusterState {
  readonly nodes: ReadonlyMap<string, Node>;
  readonly services: ReadonlyMap<ServiceKey, ClusterService>;
  readonly virtualServices: ReadonlyMap<VirtualServiceKey, VirtualService>;
  /** Which virtual services point at a service: the way from an endpoint change to the rules it touches. */
  readonly virtualServicesOf: ReadonlyMap<ServiceKey, readonly VirtualService[]>;
  /** All VIPs of the config, also those without any port: sorted, unique. */
  readonly addresses: readonly Address[];
  /** A node must carry all of these to be a backend (`labels` of the config). */
  readonly nodeLabels: Readonly<Record<string, string>>;
  /** VIP → MTU. */
  readonly mtu: ReadonlyMap<Address, number>;
  /** Revision up to which all EndpointSlices are in this state; absent where the source has none. */
  readonly revision?: number;
  /**
   * Node → revision up to which its realserver has programmed its pods, as it told the cluster itself. Absent where
   * the source cannot know: then a director waits a fixed time instead.
   */
  readonly confirmed?: ReadonlyMap<string, number>;
  /** Absent: the configuration says nothing of it. A change of it is a change of everything. */
  readonly bgp?: BgpConfig;
}

/**
 * What differs between two published states. `all` when nodes, labels, `bgp` or the set of VIPs changed, or on the first.
 * `confirmed` when realservers have caught up: what waits for them is to be looked at.
 */
export type StateChange =
  { readonly all: true } | { readonly all: false; readonly virtualServices: ReadonlySet<VirtualServiceKey>; readonly confirmed?: boolean };

export interface Publication {
  readonly state: ClusterState;
  readonly change: StateChange;
  /** What was accepted but is worth a word: coercions, unused keys. Once per accepted input. */
  readonly warnings: readonly Problem[];
  /**
   * Where the configuration is one input of several: whether this brings a new one, whether only something else has
   * changed, or something else has changed while the newest configuration is refused. Absent: new.
   */
  readonly configuration?: 'new' | 'same' | 'refused';
}

/** One finding in the input, at its place. */
export interface Problem {
  /** `config."10.50.0.100"."80".ipvsOptions.scheduler` */
  readonly path: string;
  readonly message: string;
  /** 1-based, where the carrier has lines. */
  readonly line?: number;
}

/** A stable word for why something is not done; seen in status, logs and metric labels. */
export type ReasonCode =
  | 'NoEndpoints'
  | 'NoLocalEndpoints'
  | 'ServiceMissing'
  | 'PortMissing'
  | 'ServiceHeadless'
  | 'ServiceExternalName'
  | 'EndpointsWithoutNode'
  | 'NoEligibleNode'
  | 'NodeHasNoAddress'
  | 'ForeignService'
  | 'NotProgrammed'
  | 'AwaitingNode'
  | 'InterfaceMissing'
  | 'InterfaceDown'
  | 'AddressConflict'
  | 'GuardHeld'
  | 'DirectorPresent'
  /** The BGP daemon is not there, or does not answer. */
  | 'BgpUnreachable'
  /** The BGP daemon refused the route. */
  | 'BgpRefused'
  /** The route is in the daemon, and no neighbour is up to hear it. */
  | 'BgpNoSession'
  /** A neighbour announces the same prefix. */
  | 'BgpConflict'
  /** On the way to a planned stop. */
  | 'BgpDraining';

export interface Reason {
  readonly code: ReasonCode;
  readonly message: string;
}

/** One kind of object that a source follows, and how well it does. */
export interface WatchStatus {
  /** `services`, `endpointslices`, … */
  readonly resource: string;
  readonly state: 'listing' | 'watching' | 'waiting';
  readonly objects: number;
  readonly resourceVersion: string | null;
  /** Since the server was last heard on it, milliseconds; null before the first time. */
  readonly silentMilliseconds: number | null;
  /** Complete lists read, and watches opened, since the start. */
  readonly lists: number;
  readonly watches: number;
  /** Why it waits, with the server's words; null while it works. */
  readonly error: string | null;
}

/** A place that publishes cluster states: a file, or the Kubernetes API. */
export interface Source {
  /** What it follows, for `status`; absent where there is nothing to tell. */
  readonly status?: () => readonly WatchStatus[];
  /**
   * Publishes the first state once it is whole, then one after each accepted change. Refused input
   * publishes nothing and is reported through `onRefused`; the last good state stays.
   */
  run(options: {
    signal: AbortSignal;
    onPublication: (publication: Publication) => void;
    onRefused: (problems: readonly Problem[]) => void;
    /**
     * A kind of object cannot be followed: forbidden, no connection, a watch that fell silent. Told when it begins, when
     * its words change, and with `undefined` once the kind is followed again. The source goes on trying by itself; what
     * was published stays in force. `resource` is that of {@link WatchStatus}. Sources without watches never call it.
     */
    onTrouble?: (problem: Problem | undefined, resource: string) => void;
  }): Promise<void>;
}
