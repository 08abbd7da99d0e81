import type { OpenDaemon } from '../announce/bgp/daemon.ts';
import type { Kernel } from '../drivers/kernel.ts';
import type { Log } from '../observe/log.ts';
import type { FlagName, FlagValues } from './flags.ts';
import type { Output } from './output.ts';

/** 0: as asked; 1: an error, or bad input; 2: only `plan`, something would change. */
export type ExitCode = 0 | 1 | 2;

export interface CommandContext {
  readonly flags: FlagValues;
  /** Options and positionals of the command itself. */
  readonly argv: Readonly<Record<string, unknown>>;
  readonly json: boolean;
  readonly output: Output;
  readonly log: () => Log;
  /** Opened on first use; closed when the command ends. */
  readonly kernel: () => Kernel;
  /** Where tests put another BGP daemon; undefined: GoBGP. */
  readonly openDaemon: OpenDaemon | undefined;
  /** Where tests put other files than the machine's own. */
  readonly root: string;
}

export interface CommandOption {
  readonly type: 'boolean' | 'string';
  readonly describe: string;
}

export interface Command {
  /** As yargs has it: `plan`, `validate <file>`; `$0` is the one without a name. */
  readonly command: string;
  readonly describe: string;
  readonly examples: readonly (readonly [command: string, meaning: string])[];
  /** Flags that mean something to it. */
  readonly flags: readonly FlagName[];
  readonly options?: Readonly<Record<string, CommandOption>>;
  readonly positional?: Readonly<Record<string, string>>;
  run(context: CommandContext): Promise<ExitCode>;
}
