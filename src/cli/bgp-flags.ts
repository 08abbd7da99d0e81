/** Flags of a director among several; part of the table in flags.ts. */
import * as bgp from './bgp-values.ts';
import { flag } from './flag.ts';
import * as values from './values.ts';

const mostMetric = 0xffff_ffff;
const mostAsn = 0xffff_fffe;

export const bgpFlags = {
  'bgp-endpoint': flag({
    ...{ kind: 'text', schema: bgp.endpoint, default: '127.0.0.1:50051' },
    about: 'mode bgp: gRPC server of the GoBGP daemon, version 3 or 4: host:port, [IPv6 address]:port or unix:/path',
  }),
  'bgp-tls-ca': flag({
    ...{ kind: 'text', schema: values.nonEmpty },
    about: 'mode bgp: speak TLS to the daemon, and trust these authorities (PEM file); read at each connection',
  }),
  'bgp-tls-cert': flag({
    ...{ kind: 'text', schema: values.nonEmpty },
    about: 'mode bgp: our certificate for the daemon, with its chain (PEM file); needs --bgp-tls-key',
  }),
  'bgp-tls-key': flag({ ...{ kind: 'text', schema: values.nonEmpty }, about: 'mode bgp: its private key (PEM file)' }),
  'bgp-tls-server-name': flag({
    ...{ kind: 'text', schema: values.nonEmpty, defaultText: 'the host of --bgp-endpoint' },
    about: "mode bgp: name expected in the daemon's certificate",
  }),
  'bgp-communities': flag({
    ...{ kind: 'list', schema: bgp.communities, defaultText: 'none' },
    about: 'mode bgp: communities of every route: 65000:100, 65000:1:2 (large), no-export; those of a VIP come beside them',
  }),
  'bgp-local-preference': flag({
    ...{ kind: 'text', schema: values.integer(0, mostMetric), defaultText: 'not sent' },
    about: 'mode bgp: LOCAL_PREF of every route, for neighbours in our own autonomous system (0 to 4294967295)',
  }),
  'bgp-med': flag({
    ...{ kind: 'text', schema: values.integer(0, mostMetric), defaultText: 'not sent' },
    about: 'mode bgp: MULTI_EXIT_DISC of every route (0 to 4294967295)',
  }),
  'bgp-next-hop': flag({
    ...{ kind: 'list', schema: bgp.nextHops, defaultText: "the daemon's own address of each session" },
    about: 'mode bgp: where routers are to send packets for the VIPs, at most one address of each family',
  }),
  'bgp-prefix-length-ipv4': flag({
    ...{ kind: 'text', schema: values.integer(8, 32), default: 32 },
    about: 'mode bgp: 32 announces each IPv4 VIP; less, one route for all VIPs of such a network (8 to 32)',
  }),
  'bgp-prefix-length-ipv6': flag({
    ...{ kind: 'text', schema: values.integer(16, 128), default: 128 },
    about: 'mode bgp: the same for IPv6 (16 to 128)',
  }),
  'bgp-drain': flag({
    ...{ kind: 'text', schema: values.duration('0s', '10m'), default: 0, defaultText: '0s' },
    about:
      'mode bgp: on SIGTERM, mark the routes with GRACEFUL_SHUTDOWN, give routers this long to move on, and take the routes back; 0s leaves them as they are (0s to 10m)',
  }),
  'bgp-asn': flag({
    ...{ kind: 'text', schema: values.integer(1, mostAsn), defaultText: "as the daemon's own file says" },
    about: 'mode bgp: autonomous system of a daemon that was started without one; needs --bgp-router-id',
  }),
  'bgp-router-id': flag({ ...{ kind: 'text', schema: bgp.routerId }, about: 'mode bgp: its router ID; needs --bgp-asn' }),
  'bgp-peers': flag({
    ...{ kind: 'list', schema: bgp.peers, quiet: true, defaultText: "as the daemon's own file says" },
    about:
      'mode bgp: neighbours to set up in the daemon, separated by semicolons: ADDRESS,asn=N[,multihop=N][,password-file=FILE][,hold=9s][,keepalive=3s][,connect-retry=5s][,bfd=300ms][,bfd-multiplier=3][,graceful-restart=120s][,families=4+6][,passive]',
  }),
  'ipvs-sync': flag({
    ...{ kind: 'text', schema: bgp.connectionSync, defaultText: 'none' },
    about:
      'director, mode bgp: tell other directors about connections, and learn of theirs, by multicast on this interface: INTERFACE[,id=1 to 255], the same id (82) on all of them',
  }),
};

/** How the daemon is reached. */
export const bgpConnectionFlags = ['bgp-endpoint', 'bgp-tls-ca', 'bgp-tls-cert', 'bgp-tls-key', 'bgp-tls-server-name'] as const;

/** Whom the daemon is to speak with. */
export const bgpNeighbourFlags = ['bgp-asn', 'bgp-router-id', 'bgp-peers'] as const;

/** What routes say. */
export const bgpRouteFlags = [
  'bgp-communities',
  'bgp-local-preference',
  'bgp-med',
  'bgp-next-hop',
  'bgp-prefix-length-ipv4',
  'bgp-prefix-length-ipv6',
] as const;
