/**
 * Bundles test files so that a VM loads one file each instead of many small modules, and the programs
 * that the lab starts (build/lab).
 *   scripts/bundle-tests.ts [FROM] [TO]      default: test/vm-suite build/vm-suite
 *   scripts/bundle-tests.ts demo build/demo     bundles demo/main.ts
 */
import { globSync, rmSync } from 'node:fs';
import { build } from 'esbuild';
import { bundleOptions } from './bundle-options.ts';

const [from = 'test/vm-suite', to = 'build/vm-suite'] = process.argv.slice(2);
rmSync(to, { recursive: true, force: true });
const entryPoints = globSync([`${from}/**/*.test.ts`, `${from}/main.ts`]).sort();
if (entryPoints.length > 0) {
  await build({
    ...bundleOptions,
    entryPoints,
    outdir: to,
    outbase: from,
    outExtension: { '.js': '.mjs' },
    sourcemap: 'inline',
    sourcesContent: false,
  });
}
process.stdout.write(entryPoints.map((file) => `${file.replace(from, to).replace(/\.ts$/, '.mjs')}\n`).join(''));

await build({ ...bundleOptions, entryPoints: globSync('test/lab/programs/*.ts'), outdir: 'build/lab', outExtension: { '.js': '.mjs' } });
