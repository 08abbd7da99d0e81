/**
 * Keeps connections while their destination is taken out and put in again. The kernel then finds the very same one in its trash
 * (ip_vs_trash_get_dest), with its connections. But with expire_nodest_conn a packet in between ends its connection, and
 * so does a look at all of them a tick after a destination was taken out (expire_nodest_conn_work). Without, that packet is dropped,
 * and TCP sends it again.
 */
import { failureOf } from './outcome.ts';
import type { SysctlPort } from './proc-sysctls.ts';

const setting = 'net/ipv4/vs/expire_nodest_conn';

/** The setting could not be lowered: nothing was taken out. */
export class NotKeptError extends Error {
  override readonly name = 'NotKeptError';
}

export class ConnectionKeeper {
  readonly #sysctls: SysctlPort;
  #warning: string | undefined;

  constructor(sysctls: SysctlPort) {
    this.#sysctls = sysctls;
  }

  get isPossible(): boolean {
    return this.#warning === undefined;
  }

  get warnings(): readonly string[] {
    return this.#warning === undefined ? [] : [this.#warning];
  }

  /** Runs `work` while no connection ends for want of its destination. NotKeptError, before `work` began, where that cannot be had. */
  async keeping<Result>(work: () => Promise<Result>): Promise<Result> {
    const value = await this.#lower();
    try {
      return await work();
    } finally {
      // A process that dies here leaves 0: the next one writes what it needs, from its journal's record.
      if (value !== undefined) await this.#sysctls.write(setting, value);
    }
  }

  /** The value to put back; undefined where there is nothing to lower. */
  async #lower(): Promise<string | undefined> {
    try {
      const value = await this.#sysctls.read(setting);
      if (value === undefined || value === '0') return undefined;
      await this.#sysctls.write(setting, '0');
      return value;
    } catch (error) {
      const { message } = failureOf(error, 'sysctl.write', setting);
      this.#warning = `destinations of mh services are not put in order, so that other directors may choose other backends: ${message}`;
      throw new NotKeptError(this.#warning, { cause: error });
    }
  }
}
