import { release } from 'node:os';
import { z } from 'zod';
import type { Command } from './command.ts';
import { printJson } from './output.ts';
import { version } from './version-number.ts';

export const versionSchema = z.strictObject({
  version: z.string(),
  node: z.string().describe('version of Node.js'),
  kernel: z.string().describe('release of the running kernel'),
  architecture: z.string(),
});

export const versionCommand: Command = {
  command: 'version',
  describe: 'print the version',
  examples: [['$0 version -o json', 'for a program']],
  flags: [],
  run({ json, output }) {
    const document = { version, node: process.version, kernel: release(), architecture: process.arch };
    if (json) printJson(output, document);
    else output.print(`ravel-agent ${version} (Node.js ${process.version}, Linux ${release()}, ${process.arch})\n`);
    return Promise.resolve(0);
  },
};
