import type { AgentOptions, DefaultListener, Mode, SourceOptions } from '../modes/options.ts';
import type { FlagName, FlagValues } from './flags.ts';
import { UsageError } from './resolve.ts';

/** What `plan`, `cleanup` and a run need of the flags; complains about everything that is missing at once. */
export function agentOptions(values: FlagValues, mode: Mode | undefined = values.mode): AgentOptions {
  const interfaceName = values['compute-iface'];
  const source = sourceOptions(values);
  const missing: string[] = [];
  if (mode === undefined) missing.push('--mode=director|realserver: what is this machine?');
  if (source === undefined) missing.push('--config-name=NAME or --source-file=FILE: where is the cluster described?');
  if (interfaceName === undefined) missing.push('--compute-iface=NAME: which interface faces the segment?');
  if (mode === undefined || source === undefined || interfaceName === undefined)
    throw new UsageError(`missing ${missing.join('\nmissing ')}`);
  if (mode === 'realserver' && values['vip-interface'] === interfaceName) {
    // arp_ignore=1 silences a host for the addresses of its other interfaces only.
    throw new UsageError('--vip-interface: must not be --compute-iface on a realserver: it would answer ARP for the VIPs');
  }
  return { ...commonOptions(values), mode, source, interface: interfaceName };
}

/** For one look at the machine: nobody would be there when a wait for other machines ends. */
export function withoutWaits(options: AgentOptions): AgentOptions {
  return { ...options, handoverMilliseconds: 0, readinessMilliseconds: 0 };
}

/** A file, or the Kubernetes API; undefined when neither is asked for. */
export function sourceOptions(values: FlagValues): SourceOptions | undefined {
  const file = values['source-file'];
  const name = values['config-name'];
  if (file !== undefined && name !== undefined) {
    throw new UsageError(
      '--source-file and --config-name: a cluster is described by a file or by the Kubernetes API, not by both; leave one out',
    );
  }
  if (file !== undefined) return { kind: 'file', file };
  if (name === undefined) return undefined;
  const { 'config-namespace': namespace, 'config-key': key = 'config', kubeconfig } = values;
  return { kind: 'kubernetes', namespace, name, key, kubeconfig };
}

/** Flags that say where the cluster is described. */
export const sourceFlags = [
  'source-file',
  'config-name',
  'config-namespace',
  'config-key',
  'kubeconfig',
  'agent-namespace',
] as const satisfies readonly FlagName[];

const onlyKubernetes = ['config-namespace', 'config-key', 'kubeconfig', 'agent-namespace'] as const satisfies readonly FlagName[];

/** Flags that were given and do nothing beside those that choose the source, a sentence each. */
export function idleFlags(values: FlagValues): string[] {
  if (values['source-file'] === undefined) return [];
  return onlyKubernetes
    .filter((name) => values[name] !== undefined)
    .map((name) => `--${name} has no effect: the cluster comes from --source-file`);
}

function defaultListener(values: FlagValues): DefaultListener | undefined {
  const target = values['auto-configure-service'];
  const port = values['auto-configure-port'];
  return target === undefined || port === undefined ? undefined : { ...target, port };
}

/** The rest, which has defaults. */
export function commonOptions(values: FlagValues): Omit<AgentOptions, 'mode' | 'source' | 'interface'> {
  const exceptSource = values['pod-cidr-masq'];
  return {
    nodeName: values.nodename ?? '',
    vipInterface: values['vip-interface'] ?? '',
    stateDirectory: values['state-dir'] ?? '',
    defaultListener: defaultListener(values),
    agentNamespace: values['agent-namespace'],
    events: values.events ?? true,
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
    ...({ colocation: 'disabled', natBackend: 'nftables', iptablesChain: 'RAVEL', natCounters: true, insideAccess: 'local' } as const),
    ...({ coordinatorPorts: [], failoverProbes: 1, thresholdDivisor: 'weight', ipvsSysctlDefaults: false } as const),
    masquerade: { enabled: values['iptables-masq'] ?? false, ...(exceptSource === undefined ? {} : { exceptSource }) },
    ipvsSysctls: values['ipvs-sysctl'] ?? new Map(),
  };
}
