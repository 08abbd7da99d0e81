import { z } from 'zod';
import type { Mode } from '../modes/options.ts';
import { withFlags } from '../desired/bgp-config.ts';
import { openDaemonLater } from '../modes/bgp-daemon.ts';
import { commonOptions, modeOptions, modesOf, sourceFlags, sourceOptions } from './agent-options.ts';
import { systemClock } from '../reconcile/clock.ts';
import type { Log } from '../observe/log.ts';
import { openOrigin, type Origin } from '../modes/origin.ts';
import type { ClusterState } from '../model/cluster.ts';
import { bgpFindings } from './bgp-checks.ts';
import { bgpConnectionFlags, bgpNeighbourFlags } from './bgp-flags.ts';
import { bgpOptions } from './bgp-options.ts';
import { directorChecks, machineChecks, realserverChecks } from './checks.ts';
import type { CheckInput } from './findings.ts';
import type { Command, CommandContext } from './command.ts';
import type { FlagValues } from './flags.ts';
import { originFindings, type SourceFindings } from './origin-checks.ts';
import { paint, printJson, type Output } from './output.ts';

export const findingSchema = z.strictObject({
  level: z.enum(['ok', 'warn', 'fail']),
  check: z.string().describe('what was looked at'),
  message: z.string(),
  mend: z.string().nullable().describe('the command that mends it; null where there is none'),
});
export const checkSchema = z.strictObject({ ok: z.boolean().describe('nothing failed'), findings: z.array(findingSchema) });

export type Finding = z.infer<typeof findingSchema>;

const styles = { ok: 'green', warn: 'yellow', fail: 'red' } as const;

function printFindings(output: Output, findings: readonly Finding[]): void {
  const width = Math.max(...findings.map(({ check }) => check.length));
  for (const { level, check, message, mend } of findings) {
    output.print(`${paint(output, styles[level], level.padEnd(4))}  ${check.padEnd(width)}  ${message}\n`);
    if (mend !== null) output.print(`${' '.repeat(width + 8)}${paint(output, 'dim', `run: ${mend}`)}\n`);
  }
}

/** What the source says is a finding like others: what else is wrong is worth knowing at the same time. */
async function sourceFindings(flags: FlagValues, modes: readonly Mode[], log: () => Log): Promise<SourceFindings> {
  const source = sourceOptions(flags);
  if (source === undefined) return { state: undefined, findings: [] };
  // A director follows all that a realserver does, and more.
  const options = { ...commonOptions(flags), source, mode: modes[0] ?? 'director' };
  let origin: Origin;
  try {
    origin = await openOrigin(options, { clock: systemClock, random: Math.random, log: log() });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { state: undefined, findings: [{ level: 'fail', check: 'Kubernetes API', message, mend: null }] };
  }
  try {
    return await originFindings(origin, modes);
  } finally {
    origin.close();
  }
}

/** What the machine is judged by, beside what it is. */
function subjectOf(flags: FlagValues, state: ClusterState | undefined, { kernel, root }: CommandContext): CheckInput {
  const { vipInterface, stateDirectory, nodeName, iptablesChain, ipvsSysctls } = commonOptions(flags);
  const { natBackend, colocation } = modeOptions(flags, flags.mode ?? 'director');
  return {
    ...{
      kernel: kernel(),
      root,
      interfaceName: flags['compute-iface'],
      vipInterface,
      stateDirectory,
      nodeName,
      state,
      natBackend,
      ipvsSysctls,
    },
    ...{
      chainPrefix: iptablesChain,
      colocated: colocation !== 'disabled',
      routed: flags.mode === 'bgp',
      sysctlDirectory: flags['sysctl-dir'] ?? '/proc/sys',
    },
  };
}

/** Of a director whose VIPs are routes. */
async function routeFindings(state: ClusterState | undefined, { flags, openDaemon = openDaemonLater }: CommandContext): Promise<Finding[]> {
  const options = bgpOptions(flags);
  const { endpoint, tls } = options;
  const daemon = openDaemon({ endpoint, clock: systemClock, ...(tls === undefined ? {} : { tls }) });
  try {
    return await bgpFindings({ daemon, config: withFlags(options, state?.bgp) });
  } finally {
    daemon.close();
  }
}

async function run(context: CommandContext): Promise<0 | 1> {
  const { flags, json, output, log } = context;
  const modes = modesOf(flags.mode ?? 'director,realserver');
  const { state, findings: finding } = await sourceFindings(flags, modes, log);
  const subject = subjectOf(flags, state, context);
  const findings = [...finding, ...(await machineChecks(subject, modes))];
  if (modes.includes('director') || subject.routed) findings.push(...(await directorChecks(subject)));
  if (subject.routed) findings.push(...(await routeFindings(state, context)));
  // What a director that serves its own pods needs of a realserver is among its own checks.
  if (modes.includes('realserver') && !subject.colocated) findings.push(...(await realserverChecks(subject)));
  const ok = findings.every(({ level }) => level !== 'fail');
  if (json) printJson(output, { ok, findings });
  else printFindings(output, findings);
  return ok ? 0 : 1;
}

export const checkCommand: Command = {
  command: 'check',
  describe: 'look whether this machine can do the work, and say what mends it',
  examples: [
    ['$0 check --mode=director --compute-iface=eth0', 'exit 0: nothing failed; 1: something did'],
    ['$0 check --mode=realserver --compute-iface=eth0 -o json', 'for a program'],
    ['$0 check --mode=bgp --compute-iface=eth0 --bgp-endpoint=127.0.0.1:50051', 'and whether the BGP daemon and its neighbours answer'],
    ['$0 check --mode=director --compute-iface=eth0 --source-file=cluster.yaml', 'and whether full packets reach every node'],
    ['$0 check --mode=director --compute-iface=eth0 --config-name=ravel', 'the same, and whether the Kubernetes API lets it work'],
  ],
  flags: [
    ...(['mode', 'nodename', 'compute-iface', 'vip-interface', 'state-dir', 'sysctl-dir', ...sourceFlags] as const),
    ...bgpConnectionFlags,
    ...bgpNeighbourFlags,
    ...(['ipvs-sysctl', 'ipvs-colocation-mode', 'nat-backend', 'iptables-chain', 'log-level', 'log-format', 'debug'] as const),
  ],
  run,
};
