/**
 * Builds what is released: the agent as few minified files (loading a tree of small modules dominates its start-up), and
 * `ravel-agent/native` as plain modules with declarations. dist/ravel-agent.js is the program; what only some modes need
 * lies in chunks beside it (dist/ravel-agent-*.js) that are loaded when they are.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, globSync, rmSync } from 'node:fs';
import { build } from 'esbuild';
import { agentBundleOptions } from './bundle-options.ts';

const { metafile } = await build({ ...agentBundleOptions, outdir: 'dist' }).catch(() => {
  // esbuild has said what is wrong.
  process.exit(1);
});
chmodSync('dist/ravel-agent.js', 0o755);
// Chunks of an earlier build: only now, because an agent that has just started may still be loading them.
for (const file of globSync('dist/ravel-agent-*.js')) if (!(file in metafile.outputs)) rmSync(file);

rmSync('dist/native', { recursive: true, force: true });
const tsc = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
process.exit(tsc.status ?? 1);
