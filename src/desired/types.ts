/**
 * What the kernel should hold, in the kernel's terms but as plain data. Produced by pure functions
 * of (state, node, options); compared with what the kernel does hold by diff/.
 */
import type { Address, Reason, VirtualServiceKey } from '../model/cluster.ts';
import type { DestinationId, DestinationSpec, ServiceId, ServiceSpec } from '../native/ipvs-types.ts';

export interface DesiredDestination {
  readonly id: DestinationId;
  readonly spec: DestinationSpec;
}

export interface DesiredIpvsService {
  readonly key: VirtualServiceKey;
  readonly id: ServiceId;
  readonly spec: ServiceSpec;
  /** Sorted by address, then port; unique. */
  readonly destinations: readonly DesiredDestination[];
}

export interface DesiredDirector {
  readonly services: ReadonlyMap<VirtualServiceKey, DesiredIpvsService>;
  /** VIPs to hold on the VIP device. */
  readonly addresses: readonly Address[];
  /** VIPs with at least one destination of weight above zero: to be announced once programmed. */
  readonly announce: readonly Address[];
  /** Why a virtual service is not programmed, or is programmed without a backend. */
  readonly reasons: ReadonlyMap<VirtualServiceKey, Reason>;
}

/** One VIP:port:protocol on a realserver: which local pods share it. */
export interface DesiredNatService {
  readonly key: VirtualServiceKey;
  readonly address: Address;
  /** IPPROTO number. */
  readonly protocol: number;
  readonly port: number;
  /** `namespace/service:portName`, the element's comment. */
  readonly comment: string;
  /** Local ready pods, sorted, unique; never empty. Slot k of N is pods[k]. */
  readonly pods: readonly { readonly address: Address; readonly port: number }[];
}

export interface MasqueradePolicy {
  /** Mark and masquerade what goes to a pod. Default false: pods see the client's address. */
  readonly enabled: boolean;
  /** Sources inside this prefix are left alone (`--pod-cidr-masq`). */
  readonly exceptSource?: { readonly address: Address; readonly prefix: number };
}

export interface DesiredRealserver {
  readonly services: ReadonlyMap<VirtualServiceKey, DesiredNatService>;
  readonly addresses: readonly Address[];
  readonly masquerade: MasqueradePolicy;
  readonly reasons: ReadonlyMap<VirtualServiceKey, Reason>;
}
