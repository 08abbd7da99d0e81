import type { BuildOptions } from 'esbuild';
import { onlyKubeConfig } from './bundle-kubeconfig.ts';

/** esbuild settings shared by the agent's bundle and the test bundles. */
export const bundleOptions = {
  bundle: true,
  platform: 'node',
  target: 'node22',
  format: 'esm',
  // The addon is found at run time, next to the checkout or by RAVEL_ADDON.
  external: ['*.node'],
  plugins: [onlyKubeConfig],
  legalComments: 'none',
  logLevel: 'warning',
  // CommonJS dependencies inside an ESM bundle call require() for Node's own modules.
  banner: {
    js: "import { createRequire as __bundleCreateRequire } from 'node:module'; const require = __bundleCreateRequire(import.meta.url);",
  },
} satisfies BuildOptions;

/** The released program: dist/ravel-agent.js, and beside it chunks that are loaded when a mode needs them. */
export const agentBundleOptions = {
  ...bundleOptions,
  entryPoints: { 'ravel-agent': 'src/cli/main.ts' },
  splitting: true,
  chunkNames: 'ravel-agent-[hash]',
  minify: true,
  keepNames: true,
  metafile: true,
} satisfies BuildOptions;
