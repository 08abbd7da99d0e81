/** Numbers of linux/ip_vs.h and linux/in.h that appear in columns. Kernel names in the comments. */
import type { ForwardingMethod, Protocol, TunnelType } from './ipvs-types.ts';

/** IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP. */
export const PROTOCOL_NUMBER: Readonly<Record<Protocol, number>> = { tcp: 6, udp: 17, sctp: 132 };

export const PROTOCOL_NAME: ReadonlyMap<number, Protocol> = new Map([
  [6, 'tcp'],
  [17, 'udp'],
  [132, 'sctp'],
]);

/** IP_VS_SVC_F_PERSISTENT. */
export const FLAG_PERSISTENT = 0x0001;
/** IP_VS_SVC_F_HASHED: the kernel's own mark, never part of a specification. */
export const FLAG_HASHED = 0x0002;
/** IP_VS_SVC_F_ONEPACKET. */
export const FLAG_ONE_PACKET = 0x0004;
/** IP_VS_SVC_F_SCHED1; _SCHED2 and _SCHED3 are the next two bits. */
export const FLAG_SCHEDULER_1 = 0x0008;

/** IP_VS_CONN_F_MASQ, _LOCALNODE, _TUNNEL, _DROUTE: the index is the number. */
export const FORWARDING_METHODS: readonly ForwardingMethod[] = ['masquerade', 'local', 'tunnel', 'direct'];
export const FORWARD_TUNNEL = 2;

export const FORWARDING_NUMBER: Readonly<Record<ForwardingMethod, number>> = { masquerade: 0, local: 1, tunnel: 2, direct: 3 };

/** IP_VS_CONN_F_TUNNEL_TYPE_IPIP, _GUE, _GRE: the index is the number. */
export const TUNNEL_TYPES: readonly TunnelType[] = ['ipip', 'gue', 'gre'];

export const TUNNEL_NUMBER: Readonly<Record<TunnelType, number>> = { ipip: 0, gue: 1, gre: 2 };

/** IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM, _CSUM, _REMCSUM. */
export const TUNNEL_CHECKSUM = { none: 0, plain: 1, remote: 2 } as const;
