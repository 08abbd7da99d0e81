import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { AddressDriver } from '../drivers/addresses.ts';
import type { Kernel } from '../drivers/kernel.ts';
import type { NatBackendKind } from '../drivers/nat-backend.ts';
import { NatChoice } from '../drivers/nat-choice.ts';
import type { DesiredNatService } from '../desired/types.ts';
import type { Address } from '../model/cluster.ts';
import type { Mode } from '../modes/options.ts';
import type { AgentDocument } from '../observe/agent-document.ts';
import { UnsupportedError } from '../native/errors.ts';
import { askAgent } from '../observe/status-server.ts';
import { commonOptions, modesOf } from './agent-options.ts';
import { natServices } from './nat-status.ts';
import type { FlagValues } from './flags.ts';
import { ipvsServices, statusDocument, withLocalShares, type ProgrammedService, type StatusDocument } from './status-document.ts';
import type { Command, CommandContext } from './command.ts';
import { printJson } from './output.ts';
import { printStatus } from './status-text.ts';
import { UsageError } from './resolve.ts';

const modes: readonly Mode[] = ['director', 'bgp', 'realserver'];

/** Where the kernel lacks the feature nothing is programmed; that is told beside the status, not instead of it. */
async function ifSupported(read: Promise<ProgrammedService[]>, complain: (text: string) => void): Promise<ProgrammedService[]> {
  try {
    return await read;
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    complain(`${error.message}\n`);
    return [];
  }
}

async function programmedBy(
  mode: Mode,
  { ipvs }: Pick<Kernel, 'ipvs'>,
  nat: NatChoice,
  ours: (vip: Address) => boolean,
  sampleMilliseconds: number,
): Promise<ProgrammedService[]> {
  if (mode !== 'realserver') return ipvsServices(await ipvs.snapshot(), ours);
  await nat.observe();
  if (nat.size === 0) return [];
  const before = await nat.connections();
  if (sampleMilliseconds === 0) return natServices(nat.held(), before, undefined, 0);
  const started = performance.now();
  await wait(sampleMilliseconds);
  return natServices(nat.held(), await nat.connections(), before, (performance.now() - started) / 1000);
}

/** What a director's own pods get; nothing where the kernel cannot translate. */
async function localShares(nat: NatChoice): Promise<Iterable<DesiredNatService>> {
  try {
    await nat.observe();
    return nat.held();
  } catch (error) {
    if (error instanceof UnsupportedError) return [];
    throw error;
  }
}

async function hasOurRules(nat: NatChoice): Promise<boolean> {
  try {
    return !(await nat.removal()).empty;
  } catch (error) {
    if (error instanceof UnsupportedError) return false;
    throw error;
  }
}

/** True of a kernel with IPVS services on our VIPs: a director has been here, whatever rules there are beside them. */
async function hasDirected({ ipvs }: Pick<Kernel, 'ipvs'>, placed: ReadonlySet<Address>): Promise<boolean> {
  try {
    return ipvsServices(await ipvs.snapshot(), (vip) => placed.has(vip)).length > 0;
  } catch (error) {
    if (error instanceof UnsupportedError) return false;
    throw error;
  }
}

/** The mode asked for; else the one whose agent answers; else the one that has left anything in the kernel. */
async function chooseMode(
  asked: Mode | undefined,
  answers: ReadonlyMap<Mode, AgentDocument>,
  hasTable: () => Promise<boolean>,
): Promise<Mode> {
  if (asked !== undefined) return asked;
  if (answers.size > 1) throw new UsageError(`several agents are running here (${[...answers.keys()].join(', ')}); choose with --mode`);
  const [running] = answers.keys();
  return running ?? ((await hasTable()) ? 'realserver' : 'director');
}

async function collect({ flags, argv, kernel, output }: CommandContext): Promise<StatusDocument> {
  const { vipInterface, stateDirectory } = commonOptions(flags);
  const given = argv['sample'] ?? '1';
  const sample = typeof given === 'string' && given.trim() !== '' ? Number(given) : Number.NaN;
  if (!Number.isFinite(sample) || sample < 0 || sample > 60) throw new UsageError('--sample: must be a number of seconds from 0 to 60');
  const answers = new Map<Mode, AgentDocument>();
  for (const mode of modes) {
    const answer = (await askAgent(join(stateDirectory, `${mode}.sock`))) as AgentDocument | undefined;
    if (answer !== undefined) answers.set(mode, answer);
  }
  const opened = kernel();
  const nat = natOf(flags, opened, [...answers.values()].flatMap(({ nat: chosen }) => chosen?.kind ?? [])[0]);
  const device = [...answers.values()][0]?.vipInterface ?? vipInterface;
  const { placed } = await new AddressDriver(opened.links, device).observe();
  const asked = flags.mode === undefined ? undefined : modesOf(flags.mode)[0];
  const hasRules = async (): Promise<boolean> => !(await hasDirected(opened, placed)) && (await hasOurRules(nat));
  const mode = await chooseMode(asked, answers, hasRules);
  const answer = answers.get(mode);
  const vips = new Set([...placed, ...(answer?.vips.map(({ address }) => address) ?? [])]);
  const reading = programmedBy(mode, opened, nat, (vip) => vips.has(vip), sample * 1000);
  const programmed = await ifSupported(reading, (text) => output.complain(text));
  const all = mode !== 'realserver' ? withLocalShares(programmed, await localShares(nat)) : programmed;
  return statusDocument(answer?.mode ?? mode, placed, all, answer);
}

/** Rules as the agent that answers writes them, else as the flags say. */
function natOf(flags: FlagValues, opened: Kernel, kind: NatBackendKind | undefined): NatChoice {
  return new NatChoice(opened, { asked: kind ?? flags['nat-backend'] ?? 'auto', chainPrefix: flags['iptables-chain'] ?? 'RAVEL' });
}

export const statusCommand: Command = {
  command: 'status',
  describe: 'show what is programmed, per VIP, and what the running agent says of it',
  examples: [
    ['$0 status', 'what is in the kernel, with rates; announcements and reasons when an agent runs'],
    ['$0 status --mode=realserver --sample=5 -o json', 'rates over five seconds, for a program'],
  ],
  flags: ['mode', 'vip-interface', 'nat-backend', 'iptables-chain', 'state-dir', 'log-level', 'log-format', 'debug'],
  options: { sample: { type: 'string', describe: 'realserver: seconds over which rates are measured; 0 for none (default: 1)' } },
  async run(context) {
    const document = await collect(context);
    if (context.json) printJson(context.output, document);
    else printStatus(context.output, document);
    return 0;
  },
};
