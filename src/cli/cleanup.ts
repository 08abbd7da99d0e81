import { join } from 'node:path';
import { z } from 'zod';
import { AddressDriver } from '../drivers/addresses.ts';
import { AnnouncedAddressDriver } from '../drivers/announced-addresses.ts';
import { IpvsDriver } from '../drivers/ipvs.ts';
import { describeSync, IpvsSyncDriver } from '../drivers/ipvs-sync.ts';
import type { SysctlJournal } from '../drivers/journal.ts';
import type { Kernel } from '../drivers/kernel.ts';
import { NatChoice } from '../drivers/nat-choice.ts';
import { failureOf, merge, type DriverFailure, type DriverOutcome } from '../drivers/outcome.ts';
import { SysctlDriver } from '../drivers/sysctls.ts';
import { describeTunnel, TunnelDriver } from '../drivers/tunnels.ts';
import { UnsupportedError } from '../native/errors.ts';
import { askAgent } from '../observe/status-server.ts';
import { describeIpvs, describeLink, describeNat, describeSysctl } from '../reconcile/describe.ts';
import type { PlannedChange } from '../reconcile/plane.ts';
import { commonOptions } from './agent-options.ts';
import { bgpParts } from './bgp-cleanup.ts';
import { bgpConnectionFlags } from './bgp-flags.ts';
import type { Command, CommandContext } from './command.ts';
import { openJournal } from './journal.ts';
import { printJson } from './output.ts';
import { jsonChange, plannedChangeSchema, printChanges } from './plan.ts';
import { UsageError } from './resolve.ts';

export const cleanupSchema = z.strictObject({
  dryRun: z.boolean().describe('nothing was removed, only listed'),
  changes: z.array(plannedChangeSchema),
  failures: z.array(z.string()).describe('what could not be removed, and why'),
});

/** A part of what is ours: what to do about it, and how. */
export interface Part {
  /** In the plural, for sentences. */
  readonly name: string;
  /** Parts without whose removal this one stays. */
  readonly after?: readonly string[];
  readonly changes: readonly PlannedChange[];
  readonly apply: () => Promise<DriverOutcome>;
  /** When nothing is asked of it any more. */
  readonly close?: () => void;
}

// An address is the only mark of whose its services are, and while one is left ARP must stay muted.
const services = 'IPVS services';
const vips = 'VIP addresses';
const settings = 'sysctls';

/** Nothing of ours can be where the kernel lacks the feature. */
async function ifSupported(part: () => Promise<Part>): Promise<Part[]> {
  try {
    return [await part()];
  } catch (error) {
    if (error instanceof UnsupportedError) return [];
    throw error;
  }
}

async function parts(context: CommandContext, note: (text: string) => void): Promise<Part[]> {
  const { flags, kernel, root } = context;
  const { vipInterface, stateDirectory, iptablesChain } = commonOptions(flags);
  const ports = kernel();
  const journal = await openJournal(stateDirectory, root);
  const addresses = new AddressDriver(ports.links, vipInterface);
  const { placed } = await addresses.observe();
  return [
    // While packets are still taken: routers need a moment.
    ...(await bgpParts(context, note)),
    // Withdrawn before IPVS lets go: a client that asks meanwhile gets no answer rather than a refusal.
    await announcedPart(ports, vipInterface),
    ...(await ifSupported(() => ipvsPart(ports, placed, journal))),
    await linkPart(addresses),
    ...(await ifSupported(() => natPart(ports, iptablesChain, note))),
    ...(await ifSupported(() => syncPart(ports, journal))),
    await sysctlPart(ports, journal),
    // After the settings of these very devices.
    ...(await ifSupported(() => tunnelPart(ports, journal))),
  ];
}

async function announcedPart({ links }: Kernel, vipInterface: string): Promise<Part> {
  // Ours are known by their protocol number, on whatever interface they are.
  const announced = new AnnouncedAddressDriver(links, '', vipInterface);
  const operations = await announced.cleanupOperations();
  return { name: 'announced addresses', changes: operations.map(describeLink), apply: () => announced.apply(operations) };
}

async function ipvsPart({ ipvs: port }: Kernel, placed: ReadonlySet<string>, journal: SysctlJournal): Promise<Part> {
  const ipvs = new IpvsDriver(port);
  const target = {
    services: new Map(),
    ownership: { configured: () => false, placed: (vip: string) => placed.has(vip), vip: () => false },
  };
  const plan = await ipvs.plan(target);
  return {
    name: services,
    changes: plan.operations.map(({ operation }) => describeIpvs(operation)),
    apply: async () => {
      const outcome = await ipvs.apply(target, plan);
      if (outcome.failures.length === 0 && (await journal.loadLingering())) await journal.saveLingering(false);
      return outcome;
    },
  };
}

async function linkPart(addresses: AddressDriver): Promise<Part> {
  const operations = await addresses.cleanupOperations();
  return { name: vips, after: [services], changes: operations.map(describeLink), apply: () => addresses.apply(operations) };
}

/** Of both backends, whichever wrote last. */
async function natPart(ports: Kernel, chainPrefix: string, note: (text: string) => void): Promise<Part> {
  const nat = new NatChoice(ports, { asked: 'auto', chainPrefix });
  const plan = await nat.removal();
  for (const warning of nat.warnings) note(warning);
  return { name: 'translation rules', changes: describeNat(nat.kind, plan), apply: () => nat.apply(plan) };
}

async function sysctlPart({ sysctls: port }: Kernel, journal: SysctlJournal): Promise<Part> {
  const sysctls = new SysctlDriver(port, journal);
  const operations = await sysctls.cleanupOperations();
  const apply = async (): Promise<DriverOutcome> => {
    const outcome = await sysctls.apply(operations);
    if (outcome.failures.length === 0) await sysctls.dropJournal();
    return outcome;
  };
  return { name: settings, after: [vips], changes: operations.map(describeSysctl), apply };
}

async function syncPart({ ipvs }: Kernel, journal: SysctlJournal): Promise<Part> {
  const sync = new IpvsSyncDriver(ipvs, journal);
  const operations = await sync.cleanupOperations();
  return { name: 'connection synchronization', changes: operations.map(describeSync), apply: () => sync.apply(operations) };
}

async function tunnelPart({ links, fou }: Kernel, journal: SysctlJournal): Promise<Part> {
  const tunnels = new TunnelDriver(links, fou, journal);
  const operations = await tunnels.cleanupOperations();
  const apply = async (): Promise<DriverOutcome> => {
    const outcome = await tunnels.apply(operations);
    if (outcome.failures.length === 0) await tunnels.dropJournal();
    return outcome;
  };
  return { name: 'tunnels', after: [settings], changes: operations.map(describeTunnel), apply };
}

const failed = (...failures: DriverFailure[]): DriverOutcome => ({ written: 0, failures });

/** Part by part. One that fails keeps those that need it gone; the others go. */
async function removeAll(parts: readonly Part[]): Promise<DriverOutcome[]> {
  const outcomes: DriverOutcome[] = [];
  const left = new Set<string>();
  for (const { name, after = [], changes, apply } of parts) {
    const wait = after.filter((other) => left.has(other));
    const message = `the ${name} stay while ${wait.join(' and ')} could not be removed; mend that and run cleanup again`;
    const outcome =
      wait.length > 0
        ? failed(...(changes.length === 0 ? [] : [{ op: 'cleanup', subject: name, code: 'NotRemoved', message }]))
        : await apply().catch((error: unknown) => failed(failureOf(error, 'cleanup', name)));
    if (wait.length > 0 || outcome.failures.length > 0) left.add(name);
    outcomes.push(outcome);
  }
  return outcomes;
}

async function refuseWhileRunning(folder: string): Promise<void> {
  for (const mode of ['director', 'bgp', 'realserver']) {
    const agent = (await askAgent(join(folder, `${mode}.sock`))) as { pid?: number } | undefined;
    if (agent !== undefined)
      throw new UsageError(
        `an agent of mode ${mode} is running (process ${agent.pid ?? '?'}) and would put everything back; stop it first`,
      );
  }
}

async function run(context: CommandContext): Promise<0 | 1> {
  const { flags, argv, json, output } = context;
  const dryRun = argv['dry-run'] === true;
  if (!dryRun) await refuseWhileRunning(commonOptions(flags).stateDirectory);
  const found = await parts(context, (text) => output.complain(`${text}\n`));
  const changes = found.flatMap((part) => part.changes);
  const outcomes = dryRun ? [] : await removeAll(found);
  for (const { close } of found) close?.();
  const { failures } = merge(outcomes);
  if (json) printJson(output, { dryRun, changes: changes.map(jsonChange), failures: failures.map(({ message }) => message) });
  else {
    printChanges(output, changes);
    for (const { message } of failures) output.complain(`${message}\n`);
  }
  return failures.length === 0 ? 0 : 1;
}

export const cleanupCommand: Command = {
  command: 'cleanup',
  describe: 'remove exactly what the agent made, and put changed settings back',
  examples: [
    ['$0 cleanup --dry-run', 'list what would be removed'],
    ['$0 cleanup', 'remove it'],
    ['$0 cleanup --mode=bgp --bgp-endpoint=unix:/run/gobgpd.sock', 'fail where the BGP daemon cannot be asked'],
  ],
  flags: [
    ...(['mode', 'vip-interface', 'iptables-chain', 'state-dir', 'sysctl-dir'] as const),
    ...bgpConnectionFlags,
    ...(['log-level', 'log-format', 'debug'] as const),
  ],
  options: { 'dry-run': { type: 'boolean', describe: 'only list what would be removed' } },
  run,
};
