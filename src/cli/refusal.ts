import type { Problem } from '../model/cluster.ts';

/** What is wrong with the input, a line each, in the form of compilers: `cluster.yaml:12: config."10.0.0.1": …`. */
export function refusalLines(file: string, problems: readonly Problem[]): string[] {
  return problems.map(({ path, message, line }) => {
    // Errors of the file system name the file themselves.
    if (path === '' && message.startsWith(`${file}: `)) return message;
    return `${file}${line === undefined ? '' : `:${line}`}: ${path === '' ? '' : `${path}: `}${message}`;
  });
}
