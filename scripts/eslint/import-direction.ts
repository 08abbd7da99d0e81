/**
 * Imports inside src/ point one way: from the program to the kernel, never back. A folder may import
 * what its row lists; `folder/file` allows single files, and a `*` stands for any run of characters.
 */
import path from 'node:path';
import type { Rule } from 'eslint';

export const allowedImports: Readonly<Record<string, readonly string[]>> = {
  // One strict address parser for the whole program; it is pure.
  model: ['native/address-bytes'],
  native: [],
  // The client of the Kubernetes API: read by a source, written to by observe.
  kubernetes: ['model'],
  sources: ['kubernetes', 'model'],
  desired: ['model', 'native/*-types'],
  diff: ['desired', 'model', 'native/*-types', 'native/*columns*', 'native/*-constants'],
  drivers: ['diff', 'desired/types', 'model', 'native'],
  announce: ['desired/types', 'desired/bgp', 'model', 'native'],
  observe: ['kubernetes', 'announce/bgp/speaking', 'desired', 'model', 'native/*-types', 'native/errors'],
  reconcile: ['sources', 'drivers', 'announce', 'desired', 'diff', 'observe', 'model', 'native'],
  modes: ['reconcile', 'sources', 'kubernetes', 'drivers', 'announce', 'desired', 'diff', 'observe', 'model', 'native'],
  cli: ['modes', 'reconcile', 'sources', 'kubernetes', 'drivers', 'announce', 'desired', 'diff', 'observe', 'model', 'native'],
};

/** Folders whose code is a function of its arguments only: no clock, no I/O, so nothing of Node's. */
const pureFolders = new Set(['desired', 'diff']);

/** Native is usable alone: it may use Node's own modules and nothing else. */
const standaloneFolders = new Set(['native']);

function matches(pattern: string, target: string): boolean {
  if (!pattern.includes('/')) return target.startsWith(`${pattern}/`);
  const expression = pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '[^/]*');
  return new RegExp(`^${expression}$`).test(target);
}

/**
 * Why the file may not import `specifier`, or undefined if it may.
 * @param file absolute path of the importing file
 * @param root absolute path of src/
 */
export function importProblem(file: string, specifier: string, root: string): string | undefined {
  const [from] = path.relative(root, file).split(path.sep);
  const allowed = from === undefined ? undefined : allowedImports[from];
  if (from === undefined || from === '..') return undefined;
  if (allowed === undefined) return `src/${from} has no row in the import table (scripts/eslint/import-direction.ts)`;
  if (!specifier.startsWith('.')) {
    if (pureFolders.has(from) && specifier.startsWith('node:')) return `src/${from} is pure: it may not import ${specifier}`;
    if (standaloneFolders.has(from) && !specifier.startsWith('node:')) return `src/${from} stands alone: it may not import ${specifier}`;
    return undefined;
  }
  const target = path
    .relative(root, path.resolve(path.dirname(file), specifier))
    .replaceAll(path.sep, '/')
    .replace(/\.ts$/, '');
  if (target.startsWith('../')) return `src/${from} may not import ${specifier} from outside src/`;
  if (target.startsWith(`${from}/`) || allowed.some((pattern) => matches(pattern, target))) return undefined;
  return `src/${from} may not import src/${target}; it may import ${allowed.length > 0 ? allowed.join(', ') : 'nothing outside its folder'}`;
}

export const importDirection: Rule.RuleModule = {
  meta: { type: 'problem', schema: [], messages: { wrong: '{{problem}}' } },
  create(context) {
    const root = path.join(context.cwd, 'src');
    const check = (node: Rule.Node & { source?: unknown }): void => {
      const source = node.source as { value?: unknown } | null | undefined;
      if (typeof source?.value !== 'string') return;
      const problem = importProblem(context.filename, source.value, root);
      if (problem !== undefined) context.report({ node, messageId: 'wrong', data: { problem } });
    };
    return { ImportDeclaration: check, ImportExpression: check, ExportNamedDeclaration: check, ExportAllDeclaration: check };
  },
};
