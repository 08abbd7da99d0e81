/**
 * Finds and loads the second addon, which alone is linked with libiptc (GPL-2.0), once, at the first use: a program
 * that never opens an Iptables never loads it.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AddonExports, errorOf } from './addon.ts';
import { UnsupportedError } from './errors.ts';

/** Beside RAVEL_ADDON when that is set; else beside this file, then dist and build/Release of the package it lies in. */
function candidates(): readonly string[] {
  const chosen = process.env['RAVEL_ADDON'];
  if (chosen !== undefined && chosen !== '') return [join(dirname(chosen), 'iptables.node')];
  const here = dirname(fileURLToPath(import.meta.url));
  let folder = here;
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return [here, join(folder, 'dist'), join(folder, 'build', 'Release')].map((place) => join(place, 'iptables.node'));
}

function load(): AddonExports {
  const paths = candidates();
  const path = paths.find((candidate) => existsSync(candidate));
  if (path === undefined) {
    throw new UnsupportedError(
      `the iptables backend of this build (no ${paths.join(', no ')})`,
      'apt-get install libip4tc-dev libip6tc-dev && make build, or the nftables backend',
    );
  }
  let exports: AddonExports;
  try {
    exports = createRequire(import.meta.url)(path) as AddonExports;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UnsupportedError(`the iptables backend (${path} does not load: ${reason})`, 'apt-get install libip4tc2 libip6tc2');
  }
  (exports['setErrorFactory'] as (factory: typeof errorOf) => void)(errorOf);
  return exports;
}

let loaded: AddonExports | undefined;

/** The addon's functions. UnsupportedError when it was not built, or its libraries are not there. */
export function iptablesAddon(): AddonExports {
  loaded ??= load();
  return loaded;
}
