/** The BGP daemons that tests start: which are here, and why others are not. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

/** A GoBGP of one major version. */
export interface GobgpPrograms {
  readonly major: 3 | 4;
  readonly gobgpd: string;
  readonly gobgp: string;
  /** Why they are not here, for `test(…, { skip })`; false: they are. */
  readonly skip: string | false;
}

/** A cold build on a busy machine. */
const BUILD_LIMIT_MS = 15 * 60_000;

function installed(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/usr/sbin', '/usr/local/bin'];
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
}

/** 3 of `gobgpd version 3.10.0`. */
function majorOf(gobgpd: string): number {
  const { stdout } = spawnSync(gobgpd, ['--version'], { encoding: 'utf8' });
  return Number(/version v?(\d+)\./.exec(stdout)?.[1]);
}

/** The distribution's. */
function packaged(): GobgpPrograms {
  const [gobgpd, gobgp] = [installed('gobgpd'), installed('gobgp')];
  const found = { major: 3, gobgpd: gobgpd ?? 'gobgpd', gobgp: gobgp ?? 'gobgp' } as const;
  if (gobgpd === undefined || gobgp === undefined) return { ...found, skip: 'gobgpd is not installed (scripts/system-packages bgp)' };
  const major = majorOf(gobgpd);
  return { ...found, skip: major === 3 ? false : `${gobgpd} is version ${major} of GoBGP, not 3` };
}

/** Built from the module that test/bgp/gobgp pins; a virtual machine takes what the host has built. */
function built(): GobgpPrograms {
  const inMachine = process.env['RAVEL_IN_VM'] === '1';
  const words = [...(inMachine ? ['--built'] : []), 'gobgp'];
  const { status, stdout, stderr } = spawnSync('scripts/go-programs', words, { encoding: 'utf8', timeout: BUILD_LIMIT_MS });
  const folder = stdout.trim();
  const found = { major: 4, gobgpd: path.join(folder, 'gobgpd'), gobgp: path.join(folder, 'gobgp') } as const;
  if (status === 0) return { ...found, skip: false };
  if (status === 3) return { ...found, skip: stderr.trim().split('\n').at(-1) ?? 'no Go toolchain' };
  throw new Error(`scripts/go-programs gobgp ended with status ${String(status)}: ${stderr}`);
}

let programs: readonly GobgpPrograms[] | undefined;

/** GoBGP 3 and 4, in this order. The first call may build version 4, which takes a minute or two. */
export function gobgpPrograms(): readonly GobgpPrograms[] {
  programs ??= [packaged(), built()];
  return programs;
}

/** Programs of the routers on the other side, and why they are not here. */
export interface RouterPrograms {
  readonly kind: 'bird' | 'frr';
  readonly skip: string | false;
}

export const BIRD = { daemon: '/usr/sbin/bird', control: '/usr/sbin/birdc' } as const;
export const FRR = { folder: '/usr/lib/frr', shell: '/usr/bin/vtysh' } as const;

export function routerPrograms(): readonly RouterPrograms[] {
  const absent = (kind: string, files: readonly string[]): string | false => {
    const missing = files.find((file) => !existsSync(file));
    return missing === undefined ? false : `${kind} is not installed: no ${missing} (scripts/system-packages bgp)`;
  };
  return [
    { kind: 'bird', skip: absent('BIRD', Object.values(BIRD)) },
    { kind: 'frr', skip: absent('FRR', [...['zebra', 'bgpd', 'bfdd', 'staticd'].map((name) => path.join(FRR.folder, name)), FRR.shell]) },
  ];
}
