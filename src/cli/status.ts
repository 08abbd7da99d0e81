import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { AddressDriver } from '../drivers/addresses.ts';
import type { Kernel } from '../drivers/kernel.ts';
import { NatDriver } from '../drivers/nat.ts';
import type { Address } from '../model/cluster.ts';
import type { Mode } from '../modes/options.ts';
import type { AgentDocument } from '../observe/agent-document.ts';
import { UnsupportedError } from '../native/errors.ts';
import { askAgent } from '../observe/status-server.ts';
import { commonOptions, modesOf } from './agent-options.ts';
import { natServices } from './nat-status.ts';
import { ipvsServices, statusDocument, type ProgrammedService, type StatusDocument } from './status-document.ts';
import type { Command, CommandContext } from './command.ts';
import { printJson } from './output.ts';
import { printStatus } from './status-text.ts';
import { UsageError } from './resolve.ts';

const modes: readonly Mode[] = ['director', 'realserver'];

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
  kernel: Kernel,
  ours: (vip: Address) => boolean,
  sampleMilliseconds: number,
): Promise<ProgrammedService[]> {
  if (mode === 'director') return ipvsServices(await kernel.ipvs.snapshot(), ours);
  const nat = new NatDriver(kernel.nftables);
  await nat.observe();
  if (nat.size === 0) return [];
  const before = await nat.connections();
  if (sampleMilliseconds === 0) return natServices(nat.held(), before, undefined, 0);
  const started = performance.now();
  await wait(sampleMilliseconds);
  return natServices(nat.held(), await nat.connections(), before, (performance.now() - started) / 1000);
}

/** The mode asked for; else the one whose agent answers; else the one that has left anything in the kernel. */
async function chooseMode(
  asked: Mode | undefined,
  answers: ReadonlyMap<Mode, AgentDocument>,
  hasTable: () => Promise<boolean>,
): Promise<Mode> {
  if (asked !== undefined) return asked;
  if (answers.size > 1) throw new UsageError('a director and a realserver are running here; choose with --mode');
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
  const mode = await chooseMode(
    flags.mode === undefined ? undefined : modesOf(flags.mode)[0],
    answers,
    async () => !(await new NatDriver(opened.nftables).removal()).empty,
  );
  const answer = answers.get(mode);
  const { placed } = await new AddressDriver(opened.links, answer?.vipInterface ?? vipInterface).observe();
  const vips = new Set([...placed, ...(answer?.vips.map(({ address }) => address) ?? [])]);
  const reading = programmedBy(mode, opened, (vip) => vips.has(vip), sample * 1000);
  const programmed = await ifSupported(reading, (text) => output.complain(text));
  return statusDocument(mode, placed, programmed, answer);
}

export const statusCommand: Command = {
  command: 'status',
  describe: 'show what is programmed, per VIP, and what the running agent says of it',
  examples: [
    ['$0 status', 'what is in the kernel, with rates; announcements and reasons when an agent runs'],
    ['$0 status --mode=realserver --sample=5 -o json', 'rates over five seconds, for a program'],
  ],
  flags: ['mode', 'vip-interface', 'state-dir', 'log-level', 'log-format', 'debug'],
  options: { sample: { type: 'string', describe: 'realserver: seconds over which rates are measured; 0 for none (default: 1)' } },
  async run(context) {
    const document = await collect(context);
    if (context.json) printJson(context.output, document);
    else printStatus(context.output, document);
    return 0;
  },
};
