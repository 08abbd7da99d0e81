import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { ESLint } from 'eslint';
import { importProblem } from '../../scripts/eslint/import-direction.ts';

const root = path.resolve('src');

function problem(from: string, specifier: string): string | undefined {
  return importProblem(path.join(root, from), specifier, root);
}

test('imports that point from the program to the kernel are allowed', () => {
  assert.equal(problem('cli/run.ts', '../modes/director.ts'), undefined);
  assert.equal(problem('modes/director.ts', '../reconcile/loop.ts'), undefined);
  assert.equal(problem('drivers/ipvs.ts', '../native/index.ts'), undefined);
  assert.equal(problem('drivers/ipvs.ts', '../desired/types.ts'), undefined);
  assert.equal(problem('desired/director.ts', '../native/ipvs-types.ts'), undefined);
  assert.equal(problem('diff/ipvs.ts', '../native/ipvs-columns.ts'), undefined);
  assert.equal(problem('model/address.ts', './cluster.ts'), undefined);
  assert.equal(problem('sources/file.ts', 'node:fs'), undefined);
});

test('imports that point back are refused, with what is allowed', () => {
  assert.match(
    problem('model/address.ts', '../sources/file.ts') ?? '',
    /src\/model may not import src\/sources\/file; it may import native\/address-bytes$/,
  );
  assert.match(problem('native/ipvs.ts', '../model/cluster.ts') ?? '', /src\/native may not import/);
  assert.match(problem('desired/director.ts', '../native/ipvs.ts') ?? '', /it may import model, native\/\*-types/);
  assert.match(problem('drivers/ipvs.ts', '../desired/director.ts') ?? '', /src\/drivers may not import/);
  assert.match(problem('sources/file.ts', '../reconcile/loop.ts') ?? '', /src\/sources may not import/);
  assert.match(problem('cli/run.ts', '../../test/helper.ts') ?? '', /from outside src/);
});

test('pure folders import nothing of Node, native nothing but Node', () => {
  assert.match(problem('diff/ipvs.ts', 'node:fs') ?? '', /src\/diff is pure/);
  assert.match(problem('native/ipvs.ts', 'zod') ?? '', /src\/native stands alone/);
});

test('a folder nobody wrote down is refused', () => {
  assert.match(problem('helpers/thing.ts', './other.ts') ?? '', /no row in the import table/);
});

test('eslint applies the rule to static, dynamic and re-export imports', async () => {
  const eslint = new ESLint({
    // Types are not needed to see an import, and an imagined file has none.
    overrideConfig: { files: ['**/*.ts'], languageOptions: { parserOptions: { projectService: false } } },
    ruleFilter: ({ ruleId }) => ruleId === 'ravel/import-direction',
  });
  const code = `
    import { a } from '../sources/file.ts';
    export { b } from '../reconcile/loop.ts';
    export const c = import('../cli/main.ts');
    export { d } from './cluster.ts';
    export { a };
  `;
  const [result] = await eslint.lintText(code, { filePath: path.join(root, 'model/imagined.ts') });
  assert.deepEqual(
    result?.messages.map((message) => [message.ruleId, message.line]),
    [
      ['ravel/import-direction', 2],
      ['ravel/import-direction', 3],
      ['ravel/import-direction', 4],
    ],
  );
});
