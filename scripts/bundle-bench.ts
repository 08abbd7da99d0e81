/** Bundles the benches that run inside the machine with IPVS (build/bench/vm.mjs): one file loads fast there. */
import { build } from 'esbuild';
import { bundleOptions } from './bundle-options.ts';

await build({ ...bundleOptions, entryPoints: ['test/bench/vm.ts'], outdir: 'build/bench', outExtension: { '.js': '.mjs' } });
