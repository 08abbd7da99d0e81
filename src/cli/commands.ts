import { checkCommand } from './check.ts';
import { cleanupCommand } from './cleanup.ts';
import type { Command } from './command.ts';
import { planCommand } from './plan.ts';
import { bgpCommand, directorCommand, realserverCommand, runCommand } from './run.ts';
import { statusCommand } from './status.ts';
import { versionCommand } from './version.ts';

/** All but `validate`, which needs no flags of the agent. */
export const commands: readonly Command[] = [
  ...[runCommand, directorCommand, bgpCommand, realserverCommand],
  ...[planCommand, statusCommand, checkCommand, cleanupCommand, versionCommand],
];
