#!/usr/bin/env node
/** The program: arguments in, exit code out. */
import './heap.ts';
import { hideBin } from 'yargs/helpers';
import { commands } from './commands.ts';
import { runCommandLine } from './command-line.ts';
import { wantsColour } from './output.ts';

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    // A reader that has seen enough (`| head`), or a log collector that went away: there is nobody to tell, and work goes on.
    if (code === 'EPIPE') return;
    process.on('exit', () => (process.exitCode = 1));
    if (stream === process.stdout) process.stderr.write(`ravel-agent: standard output: ${message}\n`);
  });
}

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
