import type { AgentOptions, DefaultListener, Mode, SourceOptions } from '../modes/options.ts';
import { bgpFlags } from './bgp-flags.ts';
import { bgpOptions } from './bgp-options.ts';
import type { Flag, FlagName, FlagValues } from './flags.ts';
import { UsageError } from './resolve.ts';

export type ModeFlag = NonNullable<FlagValues['mode']>;

/** What `plan`, `cleanup` and a run need of the flags; complains about everything that is missing at once. */
export function agentOptions(values: FlagValues, mode: ModeFlag | undefined = values.mode): AgentOptions {
  const interfaceName = values['compute-iface'];
  const source = sourceOptions(values);
  const missing: string[] = [];
  if (mode === undefined) missing.push('--mode=director|bgp|realserver|director,realserver: what is this machine?');
  if (source === undefined) missing.push('--config-name=NAME or --source-file=FILE: where is the cluster described?');
  if (interfaceName === undefined) missing.push('--compute-iface=NAME: which interface faces the segment?');
  if (mode === undefined || source === undefined || interfaceName === undefined)
    throw new UsageError(`missing ${missing.join('\nmissing ')}`);
  if ((mode === 'realserver' || mode === 'bgp') && values['vip-interface'] === interfaceName) {
    // arp_ignore=1 silences a host for the addresses of its other interfaces only.
    const what = mode === 'bgp' ? 'in mode bgp' : 'on a realserver';
    throw new UsageError(`--vip-interface: must not be --compute-iface ${what}: it would answer ARP for the VIPs`);
  }
  const bgp = mode === 'bgp' ? { bgp: bgpOptions(values) } : {};
  return { ...commonOptions(values), ...modeOptions(values, mode), ...bgp, source, interface: interfaceName };
}

/** What modes an agent has, as `check` and the Kubernetes API see it. */
export function modesOf(mode: ModeFlag): readonly Mode[] {
  return mode === 'director,realserver' ? ['director', 'realserver'] : [mode];
}

/** Who translates to pods, where the flags do not contradict each other. Throws {@link UsageError}. */
export function modeOptions(values: FlagValues, mode: ModeFlag): Pick<AgentOptions, 'mode' | 'combined' | 'colocation' | 'natBackend'> {
  const asked = values['nat-backend'] ?? 'auto';
  const colocation = values['ipvs-colocation-mode'];
  if (values['inside-access'] === 'cluster' && asked === 'iptables') {
    throw new UsageError(
      '--inside-access=cluster: iptables reaches pods of this node only; use --nat-backend=nftables or leave the flag out',
    );
  }
  if (mode === 'realserver') return { mode, colocation: 'disabled', natBackend: asked };
  if (mode === 'bgp') {
    if (colocation === undefined || colocation === 'disabled') return { mode, colocation: 'disabled', natBackend: asked };
    throw new UsageError(
      `--ipvs-colocation-mode=${colocation}: a director of --mode=bgp does not serve pods of its own node yet; leave the flag out`,
    );
  }
  const combined = mode === 'director,realserver';
  if (combined && colocation === 'disabled') {
    throw new UsageError(
      '--ipvs-colocation-mode=disabled: --mode=director,realserver serves its own pods, which this forbids; leave one out',
    );
  }
  const rest = { mode: 'director', ...(combined ? { combined } : {}) } as const;
  if (colocation === undefined || colocation === 'disabled')
    return { ...rest, colocation: combined ? asked : 'disabled', natBackend: asked };
  const backend = colocation === 'nft' ? 'nftables' : colocation;
  if (asked !== 'auto' && asked !== backend) {
    throw new UsageError(
      `--ipvs-colocation-mode=${colocation} and --nat-backend=${asked}: the rules of one machine are in one backend; leave one flag out`,
    );
  }
  return { ...rest, colocation: backend, natBackend: backend };
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

/** Flags that were given and do nothing beside those that choose the source and the mode, a sentence each. */
export function idleFlags(values: FlagValues, mode: ModeFlag | undefined = values.mode): string[] {
  const isGiven = (name: FlagName): boolean => values[name] !== undefined;
  const source = values['source-file'] === undefined ? [] : onlyKubernetes.filter(isGiven);
  return [...source.map((name) => `--${name} has no effect: the cluster comes from --source-file`), ...idleInMode(values, mode)];
}

function idleInMode(values: FlagValues, mode: ModeFlag | undefined): string[] {
  if (mode === 'bgp' || mode === undefined) return [];
  const idle: string[] = [];
  const colocation = values['ipvs-colocation-mode'];
  if (mode === 'realserver' && colocation !== undefined && colocation !== 'disabled')
    idle.push('--ipvs-colocation-mode has no effect: it is for a director, and this is a realserver');
  for (const name of Object.keys(bgpFlags) as (keyof typeof bgpFlags)[]) {
    // A default is not told from the same value given; nobody misses a word about it.
    const { default: fallback }: Flag = bgpFlags[name];
    if (values[name] === undefined || values[name] === fallback) continue;
    if (name !== 'ipvs-sync') idle.push(`--${name} has no effect: it is for --mode=bgp`);
    else if (mode === 'realserver') idle.push('--ipvs-sync has no effect: it is for a director, and this is a realserver');
  }
  return idle;
}

function defaultListener(values: FlagValues): DefaultListener | undefined {
  const target = values['auto-configure-service'];
  const port = values['auto-configure-port'];
  return target === undefined || port === undefined ? undefined : { ...target, port };
}

/** The rest, which has defaults. */
export function commonOptions(
  values: FlagValues,
): Omit<AgentOptions, 'mode' | 'combined' | 'colocation' | 'natBackend' | 'bgp' | 'source' | 'interface'> {
  const exceptSource = values['pod-cidr-masq'];
  const sync = values['ipvs-sync'];
  const metrics = values['metrics-listen'];
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
    iptablesChain: values['iptables-chain'] ?? '',
    natCounters: values['nat-counters'] ?? true,
    insideAccess: values['inside-access'] ?? (values['nat-backend'] === 'iptables' ? 'local' : 'cluster'),
    coordinatorPorts: values['coordinator-port'] ?? [],
    failoverProbes: values['failover-timeout'] ?? 1,
    thresholdDivisor: values['ipvs-threshold-divisor'] ?? 'weight',
    ipvsSysctlDefaults: values['ipvs-sysctl-defaults'] ?? true,
    masquerade: { enabled: values['iptables-masq'] ?? false, ...(exceptSource === undefined ? {} : { exceptSource }) },
    ipvsSysctls: values['ipvs-sysctl'] ?? new Map(),
    ...(sync === undefined ? {} : { ipvsSync: sync }),
    ...(metrics === undefined ? {} : { metricsListen: metrics }),
  };
}
