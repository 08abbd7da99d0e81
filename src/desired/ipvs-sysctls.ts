/**
 * Settings below /proc/sys/net/ipv4/vs: what a director writes, and why. Data only; Documentation/networking/ipvs-sysctl.rst
 * of the kernel says what each does.
 */
import type { SysctlRequirement } from './types.ts';

const folder = 'net/ipv4/vs';

export interface IpvsSetting {
  readonly name: string;
  readonly value: string;
  /** For people: `so that …`, or what the value means. */
  readonly why: string;
  /** What is asked for depends on it, so that it is written even without the defaults. */
  readonly needed: boolean;
}

/** What chooses among the settings. */
export interface IpvsTuning {
  /** Values by name, from the command line: they go before everything here. */
  readonly asked: ReadonlyMap<string, string>;
  /** Write the table, and not only what is needed. */
  readonly defaults: boolean;
  /** Connections that IPVS forwards are to be seen by rules of this machine: colocation, masquerading. */
  readonly conntrack: boolean;
  /** A router deals connections out to several directors, and deals them out anew when one is gone. Absent: false. */
  readonly shared?: boolean;
}

const setting = (name: string, value: string, why: string, needed = false): IpvsSetting => ({ name, value, why, needed });

/**
 * The values that installations of this kind have been run with for years, so that two directors treat a connection alike
 * whatever their distributions set. `conntrack` is not among them: 0 is the kernel's own default, and where kube-proxy uses
 * IPVS it is 1 for reasons that are not ours.
 */
export const ipvsDefaults: readonly IpvsSetting[] = [
  setting('am_droprate', '10', 'how many packets in one are dropped while memory is short and drop_packet is 3'),
  setting('amemthresh', '1024', 'pages of memory below which it is short'),
  setting('backup_only', '0', 'a director forwards while it is a backup of another, too'),
  setting('cache_bypass', '0', 'no forwarding past backends that are gone'),
  setting('conn_reuse_mode', '1', 'a new connection from a port that was used before is scheduled anew'),
  setting('drop_entry', '0', 'no half-open connections are dropped at random'),
  setting('drop_packet', '0', 'no packets are dropped to slow clients down'),
  setting(
    'expire_nodest_conn',
    '1',
    'a connection whose destination was removed ends at once, and a sender of datagrams is scheduled anew',
    true,
  ),
  setting(
    'expire_quiescent_template',
    '1',
    'a client that is bound to a destination of weight 0 is bound to another with its next connection',
  ),
  setting('ignore_tunneled', '1', 'packets that another director has tunnelled here are not scheduled a second time'),
  setting('nat_icmp_send', '0', 'no ICMP errors for replies that belong to no connection'),
  setting('pmtu_disc', '1', 'packets too big for a tunnel are answered with their limit and not cut'),
  setting('schedule_icmp', '0', 'an ICMP error without a connection makes none'),
  setting('secure_tcp', '0', 'the usual time-outs of TCP'),
  setting('sloppy_sctp', '0', 'an association begins with INIT'),
  setting('sloppy_tcp', '1', 'a connection that another director began goes on here'),
  setting('snat_reroute', '1', 'replies of masqueraded connections are routed by their new source'),
  setting('sync_persist_mode', '0', 'all connections would be told to a backup, not the templates alone'),
  setting('sync_ports', '1', 'one thread, should there be a backup to tell'),
  setting('sync_qlen_max', '1028304', 'messages to a backup that may wait'),
  setting('sync_refresh_period', '0', 'told again after so many packets, and not by time'),
  setting('sync_retries', '0', 'each is told once'),
  setting('sync_sock_size', '0', "the socket's own size"),
  setting('sync_threshold', '3\t50', 'told with the third packet, and every 50 after'),
  setting('sync_version', '1', 'the format that knows IPv6 and persistence'),
];

/** What directors need that share the connections of a VIP: a router that moves one in its midst sends no SYN and no INIT. */
export const sharedSettings: readonly IpvsSetting[] = [
  setting('sloppy_tcp', '1', 'so does one that a router moves here', true),
  setting('sloppy_sctp', '1', 'one that a router moves here from another director goes on', true),
];

const conntrack = setting('conntrack', '1', 'connections that IPVS forwards are known to the rules of this machine', true);

/** Settings that nobody asked for by name: all, or those that are needed. */
export function ipvsSettings({ asked, defaults, conntrack: tracked, shared = false }: IpvsTuning): IpvsSetting[] {
  const special = [...(shared ? sharedSettings : []), ...(tracked ? [conntrack] : [])];
  const usual = ipvsDefaults.filter(({ name }) => !special.some((one) => one.name === name));
  const wanted = [...usual, ...special].filter(({ needed }) => needed || defaults);
  return wanted.filter(({ name }) => !asked.has(name));
}

/** The kernel prints a list with tabs, whatever it was given. */
const sameWords = (a: string, b: string): boolean => a.split(/\s+/).join(' ') === b.split(/\s+/).join(' ');

/** What is lost by a value that was asked for all the same. */
function objection(name: string, value: string, { conntrack: tracked, shared = false }: IpvsTuning): { warning?: string } {
  if (name === 'conntrack' && value !== '1' && tracked)
    return { warning: `--ipvs-sysctl=conntrack=${value}: masquerading needs 1; replies may not find back to their clients` };
  if (shared && value !== '1' && sharedSettings.some((one) => one.name === name))
    return { warning: `--ipvs-sysctl=${name}=${value}: in mode bgp 1 is needed; a flow that a router moves to another director ends` };
  return {};
}

/** What a director needs below net/ipv4/vs; what was asked for by name comes first, and stays as asked. */
export function ipvsRequirements(tuning: IpvsTuning): SysctlRequirement[] {
  const asked = [...tuning.asked].map(([name, value]): SysctlRequirement => ({
    ...{ key: `${folder}/${name}`, value, why: 'asked for by --ipvs-sysctl', mayBeMissing: true },
    accepts: (current) => sameWords(current, value),
    ...objection(name, value, tuning),
  }));
  const others = ipvsSettings(tuning).map(({ name, value, why }): SysctlRequirement => ({
    ...{ key: `${folder}/${name}`, value, why },
    accepts: (current) => sameWords(current, value),
    // Without it each packet would be dealt out anew: that is no balancing any more.
    ...(name === 'conntrack' ? {} : { optional: true }),
  }));
  return [...asked, ...others];
}
