/** Foo-over-UDP receive ports in memory, with the errno of the kernel's. */
import type { FouPort, FouPortEntry } from '../../src/native/link-types.ts';
import { kernelError } from './errors.ts';
import type { Faults } from './faults.ts';
import type { Journal } from './journal.ts';

export class FakeFou implements FouPort {
  #entries: FouPortEntry[] = [];
  readonly #faults: Faults;
  readonly #journal: Journal;
  /** `ipv4 6080`: ports that a socket of somebody holds. */
  readonly taken = new Set<string>();

  constructor(faults: Faults, journal: Journal) {
    this.#faults = faults;
    this.#journal = journal;
  }

  async list(): Promise<readonly FouPortEntry[]> {
    await Promise.resolve();
    this.#journal.read();
    this.#faults.throwNext('fou.list', '');
    return [...this.#entries];
  }

  async add(entry: FouPortEntry): Promise<void> {
    const { port, family } = entry;
    await this.#write('fou.add', `${family} ${port}`, () => {
      if (this.taken.has(`${family} ${port}`) || this.#entries.some(sameAs(entry))) return 'EADDRINUSE';
      this.#entries.push({ ...entry });
      return undefined;
    });
  }

  async delete(entry: Pick<FouPortEntry, 'port' | 'family'>): Promise<void> {
    await this.#write('fou.delete', `${entry.family} ${entry.port}`, () => {
      if (!this.#entries.some(sameAs(entry))) return 'EINVAL';
      this.#entries = this.#entries.filter((held) => !sameAs(entry)(held));
      return undefined;
    });
  }

  async #write(op: string, subject: string, run: () => string | undefined): Promise<void> {
    await Promise.resolve();
    const injected = this.#faults.next(op, subject);
    const code = injected === undefined ? run() : undefined;
    const error = injected ?? (code === undefined ? undefined : kernelError(op, subject, code));
    this.#journal.write(op, subject, error?.message);
    if (error !== undefined) throw error;
  }
}

const sameAs =
  (entry: Pick<FouPortEntry, 'port' | 'family'>) =>
  (held: FouPortEntry): boolean =>
    held.port === entry.port && held.family === entry.family;
