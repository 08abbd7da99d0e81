import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KernelError } from '../native/errors.ts';

/** Kernel settings by their path below /proc/sys: `net/ipv4/conf/eth0/arp_ignore`. */
export interface SysctlPort {
  /** Without the closing newline; undefined when the kernel has no such setting. */
  read(key: string): Promise<string | undefined>;
  /** Names of the settings in a folder; none where there is no such folder. */
  names(folder: string): Promise<readonly string[]>;
  /** Throws {@link KernelError}; EROFS where /proc/sys is mounted read-only. */
  write(key: string, value: string): Promise<void>;
}

/** `sysctl -w …` as a person would type it; slashes, because interface names may hold dots. */
export const sysctlCommand = (key: string, value: string): string => `sysctl -w ${key}=${value.includes('\t') ? `"${value}"` : value}`;

function systemError(error: unknown, op: string, key: string, hint: string): Error {
  const { code, errno } = error as NodeJS.ErrnoException;
  if (code === undefined || errno === undefined) return error instanceof Error ? error : new Error(String(error));
  return new KernelError({ op, subject: key, errno: Math.abs(errno), code, extack: { message: hint } });
}

export class ProcSysctls implements SysctlPort {
  readonly #root: string;
  readonly #writeRoot: string;

  /**
   * `root` stands for /proc/sys, so that tests can give a folder of their own. `writeRoot` is the same through a mount that
   * can be written, and may hold only the part that is written.
   */
  constructor(root = '/proc/sys', writeRoot = root) {
    this.#root = root;
    this.#writeRoot = writeRoot;
  }

  async read(key: string): Promise<string | undefined> {
    try {
      return (await readFile(join(this.#root, key), 'utf8')).replace(/\n$/, '');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw systemError(error, 'sysctl.read', key, 'cannot be read');
    }
  }

  async names(folder: string): Promise<readonly string[]> {
    try {
      return await readdir(join(this.#root, folder));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw systemError(error, 'sysctl.list', folder, 'cannot be listed');
    }
  }

  async write(key: string, value: string): Promise<void> {
    try {
      // No O_CREAT: a setting that does not exist is an error, not a new file.
      await writeFile(join(this.#writeRoot, key), `${value}\n`, { flag: 'r+' });
    } catch (error) {
      throw systemError(error, 'sysctl.write', key, `run: ${sysctlCommand(key, value)}`);
    }
  }
}
