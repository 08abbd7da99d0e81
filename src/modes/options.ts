/** Everything that can be chosen about an agent, already validated. */
import type { SyncRequirement } from '../drivers/ipvs-sync.ts';
import type { MasqueradePolicy } from '../desired/types.ts';
import type { BgpConfig, BgpPeer, RouteOptions } from '../model/bgp.ts';
import type { GuardOptions } from '../reconcile/guard.ts';

/** `bgp`: a director whose VIPs are announced as routes. */
export type Mode = 'director' | 'bgp' | 'realserver';

/** Who writes translation rules. `auto`: nftables where the kernel has it, else legacy iptables. */
export type NatBackendChoice = 'auto' | 'nftables' | 'iptables';

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

/** A TCP port to serve on. */
export interface ListenOptions {
  /** An address of this machine; undefined: all of them. */
  readonly host: string | undefined;
  readonly port: number;
}

export interface DefaultListener {
  readonly namespace: string;
  readonly service: string;
  readonly portName: string;
  readonly port: number;
}

/** How a director announces by BGP. */
export interface BgpOptions extends RouteOptions {
  /** `host:port`, `[v6]:port` or `unix:/path` of the daemon's gRPC server. */
  readonly endpoint: string;
  /** Absent: in the clear, as the daemon does by default; files are read at each connection. */
  readonly tls?: { readonly caFile?: string; readonly certificateFile?: string; readonly keyFile?: string; readonly serverName?: string };
  /** As in the configuration, which goes before it. */
  readonly speaker?: NonNullable<BgpConfig['speaker']>;
  /** The same; one of the configuration goes before one with the same address here. */
  readonly peers?: readonly BgpPeer[];
  /** On SIGTERM: how long routers are given to move on, milliseconds. 0: routes stay when the agent ends. */
  readonly drainMilliseconds: number;
}

export interface AgentOptions {
  readonly mode: Mode;
  /** A director that was started as `director,realserver`: it also tells the cluster what it has programmed. Absent: false. */
  readonly combined?: boolean;
  /**
   * A director that runs pods itself: their share of the connections is translated here, by this backend, and IPVS
   * forwards the rest. A {@link combined} director always has this. `disabled`: its own pods get nothing.
   */
  readonly colocation: 'disabled' | NatBackendChoice;
  /** On a realserver, and on a director for what colocation and masquerading need. */
  readonly natBackend: NatBackendChoice;
  /** Prefix of chains of the iptables backend, at most 7 characters. */
  readonly iptablesChain: string;
  /** Virtual services count their connections. */
  readonly natCounters: boolean;
  /** Clients on a node that has no pod of a virtual service: sent to pods elsewhere, or refused. */
  readonly insideAccess: 'cluster' | 'local';
  /** Loopback TCP ports on which a director says that it is there; none: nobody says, nobody asks. */
  readonly coordinatorPorts: readonly number[];
  /** A realserver starts after so many failed looks for a director on its machine, one a second. */
  readonly failoverProbes: number;
  /** Present exactly in mode `bgp`. */
  readonly bgp?: BgpOptions;
  /** Connections are told to other directors, and learnt of, by multicast on this interface. Absent: they are not. */
  readonly ipvsSync?: SyncRequirement;
  /** By what connection limits are divided among destinations. */
  readonly thresholdDivisor: 'weight' | 'nodes';
  /** Write the defaults of net.ipv4.vs that docs/dataplane.md lists; false: only what is asked for by name. */
  readonly ipvsSysctlDefaults: boolean;
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
  /** Where metrics are served; absent: nowhere. */
  readonly metricsListen?: ListenOptions;
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
