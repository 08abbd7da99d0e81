/** The nat tables of legacy iptables of this network namespace: nothing is loaded before one of them is used. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Iptables } from '../native/iptables.ts';
import type { IptablesFamily, IptablesPort } from '../native/iptables-types.ts';
import { type Closable, Lazy } from './lazy.ts';

export type NatTablePort = Pick<IptablesPort, 'list' | 'commit'>;

export interface LegacyTables {
  /** Whether there is a legacy table `nat` of the family. Asking neither makes it nor loads anything. */
  present(family: IptablesFamily): Promise<boolean>;
  /**
   * Our chains in it, which begin with `chainPrefix`. The addon is loaded and the table opened by the first call on what
   * is returned; that call rejects with UnsupportedError where there is no such thing.
   */
  table(family: IptablesFamily, chainPrefix: string): NatTablePort;
}

const namesFile = { ip: 'ip_tables_names', ip6: 'ip6_tables_names' } as const;

export class ProcLegacyTables implements LegacyTables, Closable {
  readonly #folder: string;
  readonly #open: typeof Iptables.open;
  readonly #tables = new Map<string, Lazy<Iptables>>();

  /** `folder` stands for /proc/net, and `open` for the real table, so that tests can give their own. */
  constructor(folder = '/proc/net', open: typeof Iptables.open = (options) => Iptables.open(options)) {
    this.#folder = folder;
    this.#open = open;
  }

  /** The kernel lists a table here once something has used it in this namespace; the file is there with the module. */
  async present(family: IptablesFamily): Promise<boolean> {
    try {
      const names = await readFile(join(this.#folder, namesFile[family]), 'utf8');
      return names.split('\n').includes('nat');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
  }

  table(family: IptablesFamily, chainPrefix: string): NatTablePort {
    const name = `${family} ${chainPrefix}`;
    let lazy = this.#tables.get(name);
    if (lazy === undefined) this.#tables.set(name, (lazy = new Lazy(() => this.#open({ family, chainPrefix }))));
    const opened = lazy;
    return {
      list: async () => (await opened.get()).list(),
      commit: async (program) => (await opened.get()).commit(program),
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#tables.values()].map((table) => table.close()));
  }
}
