import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** A setting before we changed it, and what we made of it. */
export interface JournalEntry {
  readonly before: string;
  readonly after: string;
}

interface JournalFile {
  /** /proc/sys/kernel/random/boot_id: after a reboot there is nothing to restore. */
  readonly boot: string;
  readonly entries: Readonly<Record<string, JournalEntry>>;
}

/**
 * The only thing the agent keeps on disk: kernel settings as they were. Written, synced and renamed
 * into place before a setting is changed, so that no crash can lose the way back.
 */
export class SysctlJournal {
  readonly #folder: string;
  readonly #path: string;
  readonly #boot: string;

  /** `namespace` is the inode of the network namespace: agents of several namespaces may share a folder. */
  constructor(folder: string, namespace: string, boot: string) {
    this.#folder = folder;
    this.#path = join(folder, `sysctls-${namespace}.json`);
    this.#boot = boot;
  }

  get path(): string {
    return this.#path;
  }

  /** Throws when the file is there and cannot be understood: it may be the only record of old values. */
  async load(): Promise<ReadonlyMap<string, JournalEntry>> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
      throw error;
    }
    try {
      const file = JSON.parse(text) as JournalFile;
      return file.boot === this.#boot ? new Map(Object.entries(file.entries)) : new Map();
    } catch (error) {
      throw new Error(`${this.#path} is damaged; put the settings right by hand and remove it`, { cause: error });
    }
  }

  /** Replaces the record; an empty one removes the file. */
  async save(entries: ReadonlyMap<string, JournalEntry>): Promise<void> {
    if (entries.size === 0) return rm(this.#path, { force: true });
    await mkdir(this.#folder, { recursive: true, mode: 0o755 });
    const temporary = `${this.#path}.new`;
    const content: JournalFile = { boot: this.#boot, entries: Object.fromEntries(entries) };
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(content, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.#path);
    const folder = await open(this.#folder, 'r');
    try {
      // The rename itself is durable only once the folder is.
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}
