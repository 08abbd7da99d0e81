import yargs, { type Argv, type CommandModule, type Options } from 'yargs';
import type { OpenDaemon } from '../announce/bgp/daemon.ts';
import type { Kernel } from '../drivers/kernel.ts';
import { openKernel } from '../drivers/open.ts';
import { createLog, type Log } from '../observe/log.ts';
import type { Command, CommandContext, ExitCode } from './command.ts';
import { deadFlags, environmentName, flags, shownDefault, type FlagName, type FlagValues } from './flags.ts';
import { wantsColour, type Output } from './output.ts';
import { resolveFlags, UsageError } from './resolve.ts';
import { validateCommand } from './validate.ts';

export interface Surroundings {
  readonly output: Output;
  readonly environment: NodeJS.ProcessEnv;
  readonly root: string;
  readonly stderrIsTerminal: boolean;
  /** Default: the running kernel. */
  readonly openKernel?: () => Kernel & { close(): Promise<void> };
  /** Default: GoBGP. */
  readonly openDaemon?: OpenDaemon;
}

/** Switches may also be given a value: `--iptables-masq=false`, or with a space as in shipped manifests. */
function optionOf(name: FlagName): Options {
  const { kind, about } = flags[name];
  const shown = shownDefault(flags[name]);
  const describe = `${about}${shown === undefined ? '' : ` (default: ${shown})`} [${environmentName(name)}]`;
  if (kind === 'switch') return { type: 'boolean', describe };
  if (kind === 'list') return { type: 'string', array: true, nargs: 1, describe };
  return { type: 'string', requiresArg: true, describe };
}

function build(command: Command, chosen: (argv: Record<string, unknown>) => void): CommandModule {
  return {
    command: command.command,
    describe: command.describe,
    builder: (parser: Argv) => {
      for (const name of command.flags) parser.option(name, optionOf(name));
      for (const [name, option] of Object.entries(command.options ?? {})) parser.option(name, option);
      if (command.flags.length > 0) {
        parser.option('config', {
          type: 'string',
          requiresArg: true,
          describe: `YAML file with flags as keys [${environmentName('config')}]`,
        });
      }
      // All flags are accepted by all commands, as one file or environment serves them all; the help shows those that matter.
      for (const name of Object.keys(flags) as FlagName[])
        if (!command.flags.includes(name)) parser.option(name, { ...optionOf(name), hidden: true });
      for (const name of Object.keys(deadFlags)) parser.option(name, { type: 'string', hidden: true });
      parser.option('output', { alias: 'o', choices: ['text', 'json'], default: 'text', describe: 'form of the output' });
      for (const [line, meaning] of command.examples) parser.example(line, meaning);
      return parser;
    },
    handler: (argv) => chosen(argv),
  };
}

function logFor(values: FlagValues, { environment, stderrIsTerminal }: Surroundings): Log {
  const wanted = values['log-format'] ?? 'auto';
  return createLog({
    level: values.debug === true ? 'debug' : (values['log-level'] ?? 'info'),
    format: wanted === 'auto' ? (stderrIsTerminal ? 'text' : 'json') : wanted,
    colour: wantsColour({ isTTY: stderrIsTerminal }, environment),
  });
}

async function execute(command: Command, argv: Record<string, unknown>, surroundings: Surroundings): Promise<ExitCode> {
  const { values, warnings } = await resolveFlags(argv, surroundings.environment);
  let log: Log | undefined;
  let kernel: (Kernel & { close(): Promise<void> }) | undefined;
  const context: CommandContext = {
    ...{ flags: values, argv, json: argv['output'] === 'json', output: surroundings.output, root: surroundings.root },
    openDaemon: surroundings.openDaemon,
    log: () => (log ??= logFor(values, surroundings)),
    kernel: () => (kernel ??= surroundings.openKernel?.() ?? openKernel(values['sysctl-dir'])),
  };
  for (const warning of warnings) context.log().warn(warning);
  try {
    return await command.run(context);
  } finally {
    await kernel?.close();
  }
}

/** Runs one command. Never throws for what the user or the kernel did: that is an exit code and a sentence. */
export async function runCommandLine(commands: readonly Command[], args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { output } = surroundings;
  let chosen: { command: Command; argv: Record<string, unknown> } | undefined;
  const parser = yargs()
    .scriptName('ravel-agent')
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-positional-numbers': false,
    })
    .locale('en')
    .usage('Keeps the kernel’s load balancing in the state that a cluster file describes.')
    .strict()
    .version(false)
    .help()
    .alias('help', 'h')
    .wrap(120)
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message: string | undefined, error: Error | undefined) => {
      throw error ?? new UsageError(message ?? 'the arguments cannot be understood');
    })
    .command(validateCommand)
    .epilogue('Exit codes: 0 as asked; 1 an error or bad input; 2 plan only: something would change.');
  for (const command of commands) parser.command(build(command, (argv) => void (chosen = { command, argv })));
  try {
    let help = '';
    await parser.parseAsync([...args], {}, (_error: unknown, _argv: unknown, text: string) => void (help = text));
    if (help !== '') output.print(`${help}\n`);
    if (chosen === undefined) return Number(process.exitCode ?? 0);
    return await execute(chosen.command, chosen.argv, surroundings);
  } catch (error) {
    output.complain(`ravel-agent: ${error instanceof Error ? error.message : String(error)}\n`);
    if (error instanceof UsageError) output.complain('ravel-agent --help lists what there is\n');
    return 1;
  }
}
