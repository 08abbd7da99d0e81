/**
 * Builds what is released: the agent as one minified file (loading a tree of small modules dominates
 * its start-up), and `ravel-agent/native` as plain modules with declarations.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync } from 'node:fs';
import { build } from 'esbuild';
import { bundleOptions } from './bundle-options.ts';

const entry = 'src/cli/main.ts';
if (existsSync(entry)) {
  await build({ ...bundleOptions, entryPoints: [entry], outfile: 'dist/ravel-agent.js', minify: true, keepNames: true }).catch(() => {
    // esbuild has said what is wrong.
    process.exit(1);
  });
  chmodSync('dist/ravel-agent.js', 0o755);
}

rmSync('dist/native', { recursive: true, force: true });
const tsc = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
process.exit(tsc.status ?? 1);
