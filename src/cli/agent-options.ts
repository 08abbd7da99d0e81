import type { AgentOptions, Mode } from '../modes/options.ts';
import type { FlagValues } from './flags.ts';
import { UsageError } from './resolve.ts';

/** What `plan`, `cleanup` and a run need of the flags; complains about everything that is missing at once. */
export function agentOptions(values: FlagValues, mode: Mode | undefined = values.mode): AgentOptions {
  const interfaceName = values['compute-iface'];
  const sourceFile = values['source-file'];
  const missing: string[] = [];
  if (mode === undefined) missing.push('--mode=director|realserver: what is this machine?');
  if (sourceFile === undefined) missing.push('--source-file=FILE: where is the cluster described?');
  if (interfaceName === undefined) missing.push('--compute-iface=NAME: which interface faces the segment?');
  if (mode === undefined || sourceFile === undefined || interfaceName === undefined)
    throw new UsageError(`missing ${missing.join('\nmissing ')}`);
  if (mode === 'realserver' && values['vip-interface'] === interfaceName) {
    // arp_ignore=1 silences a host for the addresses of its other interfaces only.
    throw new UsageError('--vip-interface: must not be --compute-iface on a realserver: it would answer ARP for the VIPs');
  }
  return { ...commonOptions(values), mode, sourceFile, interface: interfaceName };
}

/** The rest, which has defaults. */
export function commonOptions(values: FlagValues): Omit<AgentOptions, 'mode' | 'sourceFile' | 'interface'> {
  const exceptSource = values['pod-cidr-masq'];
  return {
    nodeName: values.nodename ?? '',
    vipInterface: values['vip-interface'] ?? '',
    stateDirectory: values['state-dir'] ?? '',
    auditMilliseconds: values['audit-interval'] ?? 0,
    arpRefreshMilliseconds: values['arp-refresh'] ?? 0,
    arpFramesPerSecond: values['arp-rate'] ?? 0,
    handoverMilliseconds: values['handover-delay'] ?? 0,
    drainMilliseconds: values['drain-timeout'] ?? 0,
    readinessMilliseconds: values['readiness-timeout'] ?? 0,
    idleDestinations: values['ipvs-idle-destinations'] ?? 'remove',
    guard: {
      share: (values['removal-guard-share'] ?? 0) / 100,
      count: values['removal-guard-count'] ?? 0,
      confirmed: values['allow-mass-removal'] ?? false,
    },
    weightOverride: values['ipvs-weight-override'] ?? false,
    ignoreCordon: values['ipvs-ignore-node-cordon'] ?? false,
    masquerade: { enabled: values['iptables-masq'] ?? false, ...(exceptSource === undefined ? {} : { exceptSource }) },
    ipvsSysctls: values['ipvs-sysctl'] ?? new Map(),
  };
}
