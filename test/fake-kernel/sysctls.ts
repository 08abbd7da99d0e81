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
  readonly #hasDevice: (name: string) => boolean;

  /** A device that comes up while the machine runs has settings, with the values of `default`. */
  constructor(faults: Faults, journal: Journal, hasDevice: (name: string) => boolean = () => false) {
    this.#faults = faults;
    this.#journal = journal;
    this.#hasDevice = hasDevice;
  }

  #value(key: string): string | undefined {
    const [, device = '', name = ''] = /^net\/ipv4\/conf\/([^/]+)\/(\w+)$/.exec(key) ?? [];
    return this.values.get(key) ?? (this.#hasDevice(device) ? (this.values.get(`net/ipv4/conf/default/${name}`) ?? '0') : undefined);
  }

  async read(key: string): Promise<string | undefined> {
    await Promise.resolve();
    this.#faults.throwNext('sysctl.read', key);
    return this.#value(key);
  }

  async names(folder: string): Promise<readonly string[]> {
    await Promise.resolve();
    this.#faults.throwNext('sysctl.list', folder);
    return [...this.values.keys()].filter((key) => key.startsWith(`${folder}/`)).map((key) => key.slice(folder.length + 1));
  }

  async write(key: string, value: string): Promise<void> {
    await Promise.resolve();
    const code = this.readOnly ? 'EROFS' : this.#value(key) === undefined ? 'ENOENT' : undefined;
    const error = this.#faults.next('sysctl.write', key) ?? (code === undefined ? undefined : kernelError('sysctl.write', key, code));
    this.#journal.write('sysctl.write', key, error?.message);
    if (error !== undefined) throw error;
    this.values.set(key, value);
  }
}
