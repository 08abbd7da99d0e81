/** What the checks of `check` have in common. */
import { access, constants, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { effective, type SysctlRequirement } from '../drivers/sysctls.ts';
import { sysctlCommand } from '../drivers/proc-sysctls.ts';
import type { Kernel } from '../drivers/kernel.ts';
import type { ClusterState } from '../model/cluster.ts';
import type { NatBackendChoice } from '../modes/options.ts';
import type { Finding } from './check.ts';

export interface CheckInput {
  readonly kernel: Kernel;
  /** `/`, or a test's copy of what is below it. */
  readonly root: string;
  readonly interfaceName: string | undefined;
  readonly vipInterface: string;
  readonly stateDirectory: string;
  /** Where kernel settings are written. */
  readonly sysctlDirectory: string;
  readonly nodeName: string;
  /** What the configuration asks for, where one was given. */
  readonly state: ClusterState | undefined;
  /** What is to translate, and on a director whether its own pods are served. */
  readonly natBackend: NatBackendChoice;
  readonly chainPrefix: string;
  readonly colocated: boolean;
  /** VIPs are routes: nobody on the segment is to ask this host for them. */
  readonly routed: boolean;
  /** Settings below net.ipv4.vs that are asked for by name. */
  readonly ipvsSysctls: ReadonlyMap<string, string>;
}

const finding =
  (level: Finding['level']) =>
  (check: string, message: string, mend: string | null = null): Finding => ({ level, check, message, mend });
export const ok = finding('ok');
export const warn = finding('warn');
export const fail = finding('fail');

export const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

export async function isWritable(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** Whether the kernel has a module, loaded or to be loaded. */
export async function hasModule(root: string, name: string): Promise<boolean> {
  if (await isThere(join(root, 'sys/module', name))) return true;
  const release = (await readFile(join(root, 'proc/sys/kernel/osrelease'), 'utf8')).trim();
  const read = (file: string): Promise<string> => readFile(join(root, 'lib/modules', release, file), 'utf8').catch(() => '');
  return new RegExp(`/${name}\\.ko`).test((await read('modules.dep')) + (await read('modules.builtin')));
}

/** A setting that the agent makes where it may. */
export async function settingFinding(
  { kernel, root, sysctlDirectory }: CheckInput,
  { key, all, accepts, value, why }: SysctlRequirement,
): Promise<Finding> {
  const name = key.split('/').pop() ?? key;
  const general = all === undefined ? undefined : await kernel.sysctls.read(all);
  const own = await kernel.sysctls.read(key);
  const now = all === undefined ? (own ?? 'nothing') : effective(own, general);
  if (accepts(now)) return ok(name, `${now} in effect, ${why}`);
  if (all !== undefined && !accepts(effective(value, general))) {
    return fail(name, `${general ?? '?'} for all interfaces overrides what is needed ${why}`, sysctlCommand(all, '0'));
  }
  const command = sysctlCommand(key, value);
  return (await isWritable(join(root, sysctlDirectory, key)))
    ? warn(name, `${now} in effect; the agent sets ${value} ${why}`, command)
    : fail(name, `${now} in effect, and ${sysctlDirectory} cannot be written; ${value} is needed ${why}`, command);
}
