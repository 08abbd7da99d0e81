import { z } from 'zod';
import { firstPublication, InputRefusedError, openOrigin } from '../modes/origin.ts';
import { compositions } from '../modes/run.ts';
import { systemClock } from '../reconcile/clock.ts';
import type { PlannedChange } from '../reconcile/plane.ts';
import { agentOptions, idleFlags, sourceFlags, withoutWaits } from './agent-options.ts';
import { bgpConnectionFlags, bgpNeighbourFlags, bgpRouteFlags } from './bgp-flags.ts';
import type { Command, CommandContext } from './command.ts';
import { openJournal } from './journal.ts';
import { paint, printJson, type Output } from './output.ts';
import { refusalLines } from './refusal.ts';

export const plannedChangeSchema = z.strictObject({
  vip: z.string().nullable().describe('VIP that the change is about; null for the device, a setting, or rules common to all'),
  kind: z
    .enum(['sysctl', 'device', 'address', 'ipvs', 'nftables', 'iptables', 'path', 'peer'])
    .describe('kind of object: of the kernel, or of the BGP daemon'),
  op: z.string().describe('operation, such as addService, deleteAddress or withdrawPath'),
  text: z.string().describe('the object and its new value, for people'),
});

export const planSchema = z.strictObject({
  mode: z.enum(['director', 'bgp', 'realserver', 'director,realserver']),
  changes: z.array(plannedChangeSchema).describe('in the order in which they would be made'),
  held: z.string().nullable().describe('why removals would be held back; null when none are'),
});

const signOf = (op: string): '+' | '-' | '~' =>
  /^(add|create|insert|start)/.test(op) ? '+' : /^(delete|flush|stop|withdraw)/.test(op) ? '-' : '~';
const styles = { '+': 'green', '-': 'red', '~': 'yellow' } as const;

export const jsonChange = ({ vip, kind, op, text }: PlannedChange): z.infer<typeof plannedChangeSchema> => ({
  vip: vip ?? null,
  kind,
  op,
  text,
});

/** Changes under the VIP they are about, common ones first. */
export function printChanges(output: Output, changes: readonly PlannedChange[]): void {
  const groups = new Map<string, PlannedChange[]>();
  for (const change of changes) groups.set(change.vip ?? '', [...(groups.get(change.vip ?? '') ?? []), change]);
  for (const [vip, group] of [...groups].sort(([a], [b]) => (a < b ? -1 : 1))) {
    output.print(`${paint(output, 'bold', vip === '' ? 'for all VIPs' : vip)}\n`);
    for (const { op, kind, text } of group) {
      const sign = signOf(op);
      output.print(`  ${paint(output, styles[sign], sign)} ${kind.padEnd(8)}  ${text}\n`);
    }
  }
  const count = (sign: string): number => changes.filter(({ op }) => signOf(op) === sign).length;
  const total = changes.length === 0 ? 'nothing to change' : `${count('+')} to add, ${count('~')} to change, ${count('-')} to remove`;
  output.print(`${total}\n`);
}

async function run({ flags, json, output, kernel, log, root, openDaemon }: CommandContext): Promise<0 | 1 | 2> {
  const options = withoutWaits(agentOptions(flags));
  for (const warning of idleFlags(flags)) log().warn(warning);
  const journal = await openJournal(options.stateDirectory, root);
  const parts = {
    kernel: kernel(),
    journal,
    clock: systemClock,
    random: Math.random,
    log: log(),
    ...(openDaemon === undefined ? {} : { openDaemon }),
  };
  const { plane, stop } = compositions[options.mode](options, parts);
  const origin = await openOrigin(options, parts);
  try {
    const { state } = await firstPublication(origin, systemClock);
    const { changes, held, unseen } = await plane.preview(state);
    if (json)
      printJson(output, {
        mode: options.combined === true ? 'director,realserver' : options.mode,
        changes: changes.map(jsonChange),
        held: held?.message ?? null,
      });
    else {
      printChanges(output, changes);
      if (held !== undefined) output.print(`${paint(output, 'yellow', held.message)}\n`);
    }
    if (unseen !== undefined) {
      output.complain(`${unseen}\n`);
      return 1;
    }
    return changes.length === 0 && held === undefined ? 0 : 2;
  } catch (error) {
    if (!(error instanceof InputRefusedError)) throw error;
    output.complain(`${refusalLines(origin.place, error.problems).join('\n')}\n`);
    return 1;
  } finally {
    origin.close();
    stop();
  }
}

export const planCommand: Command = {
  command: 'plan',
  describe: 'show what would change, grouped by VIP, and change nothing',
  examples: [
    [
      '$0 plan --mode=director --compute-iface=eth0 --source-file=cluster.yaml',
      'exit 0: nothing would change; 2: something would; 1: an error',
    ],
    ['$0 plan --mode=bgp --compute-iface=eth0 --source-file=cluster.yaml', 'what would change in the BGP daemon as well'],
    ['$0 plan --mode=realserver --compute-iface=eth0 --source-file=new.yaml -o json', 'the same for a program'],
  ],
  flags: [
    ...sourceFlags,
    ...(['mode', 'nodename', 'compute-iface', 'vip-interface', 'state-dir'] as const),
    ...([
      'ipvs-weight-override',
      'ipvs-ignore-node-cordon',
      'ipvs-idle-destinations',
      'drain-timeout',
      'ipvs-threshold-divisor',
      'ipvs-sysctl',
      'ipvs-sysctl-defaults',
      'ipvs-sync',
      'ipvs-colocation-mode',
      'nat-backend',
      'iptables-chain',
      'nat-counters',
      'inside-access',
      'coordinator-port',
      'iptables-masq',
      'pod-cidr-masq',
    ] as const),
    ...bgpConnectionFlags,
    ...bgpRouteFlags,
    ...bgpNeighbourFlags,
    ...(['auto-configure-service', 'auto-configure-port'] as const),
    ...(['removal-guard-share', 'removal-guard-count', 'allow-mass-removal', 'log-level', 'log-format', 'debug'] as const),
  ],
  run,
};
