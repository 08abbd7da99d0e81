/** /proc/sys as a map. */
import type { SysctlPort } from '../../src/drivers/kernel.ts';
import { kernelError } from './errors.ts';
import type { Faults } from './faults.ts';
import type { Journal } from './journal.ts';

export class FakeSysctls implements SysctlPort {
  readonly values = new Map<string, string>();
  /** /proc/sys is mounted read-only, as in most containers. */
  readOnly = false;
  readonly #faults: Faults;
  readonly #journal: Journal;

  constructor(faults: Faults, journal: Journal) {
    this.#faults = faults;
    this.#journal = journal;
  }

  async read(key: string): Promise<string | undefined> {
    await Promise.resolve();
    this.#faults.throwNext('sysctl.read', key);
    return this.values.get(key);
  }

  async names(folder: string): Promise<readonly string[]> {
    await Promise.resolve();
    this.#faults.throwNext('sysctl.list', folder);
    return [...this.values.keys()].filter((key) => key.startsWith(`${folder}/`)).map((key) => key.slice(folder.length + 1));
  }

  async write(key: string, value: string): Promise<void> {
    await Promise.resolve();
    const code = this.readOnly ? 'EROFS' : this.values.has(key) ? undefined : 'ENOENT';
    const error = this.#faults.next('sysctl.write', key) ?? (code === undefined ? undefined : kernelError('sysctl.write', key, code));
    this.#journal.write('sysctl.write', key, error?.message);
    if (error !== undefined) throw error;
    this.values.set(key, value);
  }
}
