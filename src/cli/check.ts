import { z } from 'zod';
import type { Address } from '../model/cluster.ts';
import type { Mode } from '../modes/options.ts';
import { commonOptions } from './agent-options.ts';
import { directorChecks, machineChecks, realserverChecks, type CheckInput } from './checks.ts';
import type { Command, CommandContext } from './command.ts';
import type { FlagValues } from './flags.ts';
import { paint, printJson, type Output } from './output.ts';
import { firstPublication, InputRefusedError } from '../modes/run.ts';
import { refusalLines } from './refusal.ts';
import { sourceOf } from './run.ts';

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

/** A file that is refused is a finding like others: what else is wrong is worth knowing at the same time. */
async function readVips(flags: FlagValues, file: string): Promise<{ vips: readonly Address[]; finding: Finding[] }> {
  const check = 'cluster file';
  try {
    const { addresses } = (await firstPublication(sourceOf(flags, file))).state;
    return { vips: addresses, finding: [{ level: 'ok', check, message: `${file} is valid, ${addresses.length} VIPs`, mend: null }] };
  } catch (error) {
    if (!(error instanceof InputRefusedError)) throw error;
    const [first = '', ...others] = refusalLines(file, error.problems);
    const message = others.length === 0 ? first : `${first} (and ${others.length} more)`;
    return { vips: [], finding: [{ level: 'fail', check, message, mend: `ravel-agent validate ${file}` }] };
  }
}

async function run({ flags, json, output, kernel, root }: CommandContext): Promise<0 | 1> {
  const { vipInterface, stateDirectory } = commonOptions(flags);
  const interfaceName = flags['compute-iface'];
  const file = flags['source-file'];
  const { vips, finding } = file === undefined ? { vips: [], finding: [] } : await readVips(flags, file);
  const subject: CheckInput = { kernel: kernel(), root, interfaceName, vipInterface, stateDirectory, vips };
  const modes: readonly Mode[] = flags.mode === undefined ? ['director', 'realserver'] : [flags.mode];
  const findings = [...finding, ...(await machineChecks(subject, modes))];
  if (modes.includes('director')) findings.push(...(await directorChecks(subject)));
  if (modes.includes('realserver')) findings.push(...(await realserverChecks(subject)));
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
  ],
  flags: ['mode', 'compute-iface', 'vip-interface', 'state-dir', 'source-file', 'log-level', 'log-format', 'debug'],
  run,
};
