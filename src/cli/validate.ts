/** `ravel-agent validate FILE`: says what is wrong with a configuration, before an agent has to. */
import { readFile } from 'node:fs/promises';
import { styleText } from 'node:util';
import type { CommandModule } from 'yargs';
import { readCluster, type ReadResult } from '../model/cluster-file.ts';
import type { Problem } from '../model/cluster.ts';
import { configurationJsonSchema } from '../model/config-schema.ts';
import { runThrough } from '../model/slices.ts';

/** What `-o json` prints. */
export interface ValidationReport {
  readonly file: string;
  readonly valid: boolean;
  readonly errors: readonly Problem[];
  readonly warnings: readonly Problem[];
  /** What is in the file; null when it is not valid. */
  readonly summary: { readonly nodes: number; readonly services: number; readonly vips: number; readonly virtualServices: number } | null;
}

/** @param lenient values that the agent would replace by others are warnings, as they are for the agent itself */
export function validationReport(file: string, result: ReadResult, lenient: boolean): ValidationReport {
  const errors = lenient ? result.errors : [...result.errors, ...result.coercions];
  const warnings = lenient ? [...result.coercions, ...result.warnings] : result.warnings;
  const { state } = result;
  const valid = errors.length === 0;
  const byLine = (problems: readonly Problem[]): Problem[] => [...problems].sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity));
  return {
    file,
    valid,
    errors: byLine(errors),
    warnings: byLine(warnings),
    summary:
      state === undefined || !valid
        ? null
        : {
            nodes: state.nodes.size,
            services: state.services.size,
            vips: state.addresses.length,
            virtualServices: state.virtualServices.size,
          },
  };
}

type Style = (style: 'red' | 'yellow' | 'green', text: string) => string;

function formatProblem(file: string, kind: string, { path, message, line }: Problem): string {
  const place = line === undefined ? file : `${file}:${line}`;
  return `${place}: ${kind}: ${path === '' ? '' : `${path}: `}${message}`;
}

/** For people. */
export function formatReport({ file, errors, warnings, summary }: ValidationReport, style: Style = (_, text) => text): string {
  const lines = [
    ...errors.map((problem) => formatProblem(file, style('red', 'error'), problem)),
    ...warnings.map((problem) => formatProblem(file, style('yellow', 'warning'), problem)),
  ];
  if (summary !== null) {
    const { nodes, services, vips, virtualServices } = summary;
    lines.push(
      `${file}: ${style('green', 'valid')}: ${vips} VIPs, ${virtualServices} virtual services, ${services} services, ${nodes} nodes`,
    );
  }
  return `${lines.join('\n')}\n`;
}

async function read(file: string): Promise<ReadResult> {
  try {
    return runThrough(readCluster(await readFile(file), { carrier: 'auto' }));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const words = code === 'ENOENT' ? 'no such file' : code === 'EISDIR' ? 'is a folder' : message;
    return { state: undefined, errors: [{ path: '', message: words }], coercions: [], warnings: [] };
  }
}

export interface ValidateArguments {
  readonly file?: string | undefined;
  readonly lenient: boolean;
  readonly schema: boolean;
  readonly output: 'text' | 'json';
}

/** Prints to standard output; returns the exit status. */
export async function validate({ file, lenient, schema, output }: ValidateArguments): Promise<0 | 1> {
  if (schema) {
    process.stdout.write(`${JSON.stringify(configurationJsonSchema(), null, 2)}\n`);
    return 0;
  }
  if (file === undefined) throw new Error('validate needs a FILE');
  const report = validationReport(file, await read(file), lenient);
  // styleText leaves colours out where standard output is no terminal, or NO_COLOR is set.
  const style: Style = (color, text) => styleText(color, text, { stream: process.stdout });
  process.stdout.write(output === 'json' ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report, style));
  return report.valid ? 0 : 1;
}

export const validateCommand: CommandModule<object, ValidateArguments> = {
  command: 'validate [file]',
  describe: 'Check a configuration file; exit 0 when it is valid, else 1 with every error at its path',
  builder: (yargs) =>
    yargs
      .positional('file', { type: 'string', describe: 'Cluster file or configuration, YAML or JSON' })
      .option('lenient', {
        type: 'boolean',
        default: false,
        describe: 'Warn, as the agent does, about values that are replaced by others',
      })
      .option('schema', { type: 'boolean', default: false, describe: 'Print the JSON Schema of the configuration instead' })
      .option('output', { alias: 'o', choices: ['text', 'json'] as const, default: 'text' as const, describe: 'Form of the output' })
      .check(({ file, schema }) => {
        if (file === undefined && !schema) throw new Error('validate needs a FILE (or --schema)');
        return true;
      })
      .example('$0 validate cluster.yaml', 'check a file')
      .example('$0 validate --schema > ravel.schema.json', 'for editors'),
  handler: async (argv) => {
    process.exitCode = await validate(argv);
  },
};
