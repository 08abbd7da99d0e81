#!/usr/bin/env node
/** The program: arguments in, exit code out. */
import { hideBin } from 'yargs/helpers';
import { commands } from './commands.ts';
import { runCommandLine } from './command-line.ts';
import { wantsColour } from './output.ts';

process.exitCode = await runCommandLine(commands, hideBin(process.argv), {
  environment: process.env,
  root: '/',
  stderrIsTerminal: process.stderr.isTTY,
  output: {
    print: (text) => void process.stdout.write(text),
    complain: (text) => void process.stderr.write(text),
    colour: wantsColour(process.stdout, process.env),
  },
});
