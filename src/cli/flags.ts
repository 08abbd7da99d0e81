/** Every flag, once: its name is also its key in --config, and with RAVEL_ before it its environment variable. */
import { hostname } from 'node:os';
import type { z } from 'zod';
import { defaultVipInterface } from '../drivers/ownership.ts';
import { bgpFlags } from './bgp-flags.ts';
import { flag, type Flag } from './flag.ts';
import * as values from './values.ts';

export type { Flag };

export const flags = {
  mode: flag({
    ...{ kind: 'text', schema: values.mode },
    about:
      'what this machine does: director; bgp: one director of several, announced by routes; realserver; or director,realserver: a director that serves its own pods as well',
  }),
  'source-file': flag({ kind: 'text', schema: values.nonEmpty, about: 'cluster file, YAML or JSON; watched while the agent runs' }),
  'config-name': flag({
    ...{ kind: 'text', schema: values.objectName },
    about: 'ConfigMap with the VIPs: the cluster is read from the Kubernetes API, and followed while the agent runs',
  }),
  'config-namespace': flag({
    ...{ kind: 'text', schema: values.objectName, defaultText: 'that of the agent' },
    about: 'namespace of the ConfigMap',
  }),
  'config-key': flag({
    ...{ kind: 'text', schema: values.nonEmpty, defaultText: '`config`' },
    about: 'key of its data that holds the configuration, as JSON',
  }),
  kubeconfig: flag({
    ...{ kind: 'text', schema: values.nonEmpty, defaultText: 'the service account of the pod' },
    about: 'file that says where the Kubernetes API is and who we are',
  }),
  'agent-namespace': flag({
    ...{ kind: 'text', schema: values.objectName, defaultText: 'that of the service account or kubeconfig' },
    about: 'namespace in which realservers keep the Leases that confirm what they have programmed',
  }),
  events: flag({
    ...{ kind: 'switch', schema: values.boolean, default: true },
    about: 'director: tell in Kubernetes Events why a VIP or port is not in force',
  }),
  nodename: flag({
    ...{ kind: 'text', schema: values.nonEmpty, about: 'name of this node in the cluster' },
    ...{ default: hostname(), defaultText: 'the host name' },
  }),
  'compute-iface': flag({
    kind: 'text',
    schema: values.interfaceName,
    about: 'interface that faces the segment: VIPs are announced, or kept silent, on it',
  }),
  'vip-interface': flag({
    ...{ kind: 'text', schema: values.interfaceName, default: defaultVipInterface },
    about:
      'device that holds the VIPs; made as a dummy. A dummy of this name belongs to the agent with all its addresses; a device of another kind is used as it is',
  }),
  'state-dir': flag({
    kind: 'text',
    schema: values.nonEmpty,
    default: '/run/ravel-agent',
    about: 'folder of the status socket and of the record of changed sysctls',
  }),
  'metrics-listen': flag({
    ...{ kind: 'text', schema: values.listen, defaultText: 'none' },
    about: 'serve metrics for Prometheus here, as http://…/metrics, to whoever asks: 127.0.0.1:10234, or :10234 on all addresses',
  }),
  'sysctl-dir': flag({
    ...{ kind: 'text', schema: values.nonEmpty, default: '/proc/sys' },
    about: "folder in which kernel settings are changed: where /proc/sys is read-only, as in most containers, a mount of the host's own",
  }),
  'audit-interval': flag({
    ...{ kind: 'text', schema: values.duration('1s', '1h'), default: 60_000, defaultText: '60s' },
    about: 'how often everything is compared although nothing seems to have changed (1s to 1h)',
  }),
  'arp-refresh': flag({
    ...{ kind: 'text', schema: values.duration('1s', '1h'), default: 60_000, defaultText: '60s' },
    about: 'how often a VIP that is held is announced again (1s to 1h)',
  }),
  'arp-rate': flag({
    kind: 'text',
    schema: values.integer(10, 100_000),
    default: 2000,
    about: 'gratuitous ARP frames a second at most (10 to 100000)',
  }),
  'handover-delay': flag({
    ...{ kind: 'text', schema: values.duration('0s', '1m'), default: 1000, defaultText: '1s' },
    about:
      'how long a director whose realservers confirm nothing (a cluster file) waits before a new node gets connections, and a realserver keeps the rules of its last pod (0s to 1m)',
  }),
  'drain-timeout': flag({
    ...{ kind: 'text', schema: values.duration('0s', '1h'), default: 120_000, defaultText: '2m' },
    about: 'director: how long a node without ready pods may finish its connections before it is removed (0s to 1h)',
  }),
  'readiness-timeout': flag({
    ...{ kind: 'text', schema: values.duration('0s', '10m'), default: 10_000, defaultText: '10s' },
    about: 'director: how long a new node waits for its realserver to confirm its pods before it gets connections all the same (0s to 10m)',
  }),
  'ipvs-idle-destinations': flag({
    ...{ kind: 'text', schema: values.choice(['remove', 'keep']), default: 'remove' },
    about: 'director: remove the destinations of nodes without pods, or keep them with weight 0',
  }),
  'removal-guard-share': flag({
    ...{ kind: 'text', schema: values.integer(0, 100), default: 50 },
    about: 'hold a change that would remove more than this share of the virtual services, in percent',
  }),
  'removal-guard-count': flag({
    ...{ kind: 'text', schema: values.integer(0, 1_000_000), default: 10 },
    about: 'a change that removes no more than this many virtual services is never held',
  }),
  'allow-mass-removal': flag({
    kind: 'switch',
    schema: values.boolean,
    default: false,
    about: 'hold nothing: remove whatever is no longer asked for',
  }),
  'ipvs-weight-override': flag({
    kind: 'switch',
    schema: values.boolean,
    default: false,
    about: 'director: weight 1 for every node that has a ready pod',
  }),
  'ipvs-ignore-node-cordon': flag({
    kind: 'switch',
    schema: values.boolean,
    default: false,
    about: 'director: nodes marked unschedulable stay backends',
  }),
  'ipvs-sysctl': flag({
    ...{ kind: 'list', schema: values.settings, default: new Map<string, string>(), defaultText: 'none' },
    about: 'director: name=value below /proc/sys/net/ipv4/vs; put back by cleanup',
  }),
  'ipvs-sysctl-defaults': flag({
    ...{ kind: 'switch', schema: values.boolean, default: true },
    about:
      'director: write the values below /proc/sys/net/ipv4/vs that docs/dataplane.md lists; false: only those that are needed or asked for',
  }),
  'ipvs-threshold-divisor': flag({
    ...{ kind: 'text', schema: values.choice(['weight', 'nodes']), default: 'weight' },
    about: 'director: divide connection limits among destinations by weight, or by the number of all nodes',
  }),
  'ipvs-colocation-mode': flag({
    ...{ kind: 'text', schema: values.choice(['disabled', 'nft', 'iptables']), defaultText: 'disabled' },
    about: 'director: serve the pods of this machine by rules of nftables or iptables, with their fair share of the connections',
  }),
  'nat-backend': flag({
    ...{ kind: 'text', schema: values.choice(['auto', 'nftables', 'iptables']), default: 'auto' },
    about: 'what translates to pods: nftables, legacy iptables, or auto: nftables where the kernel has it',
  }),
  'iptables-chain': flag({
    ...{ kind: 'text', schema: values.chainPrefix, default: 'RAVEL' },
    about: 'with iptables: first chain, and with a hyphen after it the prefix of all others; at most 7 characters',
  }),
  'nat-counters': flag({
    ...{ kind: 'switch', schema: values.boolean, default: true },
    about: 'with nftables: each virtual service counts its connections',
  }),
  'inside-access': flag({
    ...{ kind: 'text', schema: values.choice(['cluster', 'local']), defaultText: 'cluster' },
    about:
      'realserver, with nftables: clients on a node without a pod of a virtual service reach pods elsewhere (cluster), or are refused (local)',
  }),
  'coordinator-port': flag({
    ...{ kind: 'list', schema: values.ports, default: [44_444], defaultText: '44444' },
    about:
      'TCP ports of 127.0.0.1 on which a director shows that it is there; a realserver on the same machine asks the first, and stays idle while one is. 0: none',
  }),
  'failover-timeout': flag({
    ...{ kind: 'text', schema: values.integer(1, 120), default: 1 },
    about: 'realserver: start after so many failed looks for a director on this machine, one a second (1 to 120)',
  }),
  ...bgpFlags,
  'iptables-masq': flag({
    ...{ kind: 'switch', schema: values.boolean, default: false },
    about: "realserver: replace the client's address by the node's on the way to a pod",
  }),
  'pod-cidr-masq': flag({
    kind: 'text',
    schema: values.prefix,
    about: 'realserver: with --iptables-masq, clients inside this prefix keep their address',
  }),
  'auto-configure-service': flag({
    kind: 'text',
    schema: values.listenerTarget,
    about: 'namespace/service:portName that answers on VIPs without a port of their own',
  }),
  'auto-configure-port': flag({ kind: 'text', schema: values.integer(1, 65_535), about: 'port on which it does' }),
  'log-level': flag({
    kind: 'text',
    schema: values.choice(['error', 'warn', 'info', 'debug']),
    default: 'info',
    about: 'error, warn, info or debug',
  }),
  'log-format': flag({
    ...{ kind: 'text', schema: values.choice(['auto', 'json', 'text']), default: 'auto' },
    about: 'json, text, or auto: text on a terminal and JSON elsewhere',
  }),
  debug: flag({ kind: 'switch', schema: values.boolean, default: false, about: 'the same as --log-level=debug' }),
} satisfies Record<string, Flag>;

/** The default as the help shows it; undefined when there is none. */
export function shownDefault({ default: value, defaultText }: Flag): string | undefined {
  if (defaultText !== undefined) return defaultText;
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
}

export type FlagName = keyof typeof flags;

export type FlagValues = { readonly [Name in FlagName]?: z.output<(typeof flags)[Name]['schema']> };

/**
 * Accepted with one warning, so that a manifest written for the original keeps working: they chose things that this
 * agent decides by itself, or belong to sources and modes that it does not have.
 */
export const deadFlags: Readonly<Record<string, string>> = {
  'compute-iface-local': 'VIPs are on a device of their own',
  gateway: 'announcements are gratuitous and ask nobody',
  'primary-ip': 'addresses of this machine are read from its interfaces',
  'lo-announce': 'no setting of lo is needed',
  'lo-ignore': 'no setting of lo is needed',
  'primary-announce': 'a realserver sets arp_announce as it must be',
  'primary-ignore': 'a realserver sets arp_ignore as it must be',
  'forced-reconfigure': 'everything is compared every --audit-interval',
  'cleanup-master': 'use the command cleanup',
  'bgp-bin': 'the agent speaks to the BGP daemon itself (--bgp-endpoint) and starts no program',
  'stats-enabled': 'the kernel counts; see status and --metrics-listen',
  'stats-interface': 'the kernel counts; see status',
  'stats-listen': 'metrics are served on --metrics-listen',
  'stats-port': 'metrics are served on --metrics-listen',
  'stats-interval': 'the kernel counts; see status',
  'calico-version': 'never had an effect',
  'calico-dir': 'never had an effect',
  'calico-bin': 'never had an effect',
};

export const environmentName = (name: string): string => `RAVEL_${name.toUpperCase().replaceAll('-', '_')}`;
