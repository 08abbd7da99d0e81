import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { SyncDaemonMade } from '../diff/ipvs-sync.ts';
import type { TunnelChange } from '../diff/tunnels.ts';

/** A setting before we changed it, and what we made of it. */
export interface JournalEntry {
  readonly before: string;
  readonly after: string;
}

interface JournalFile {
  /** /proc/sys/kernel/random/boot_id: after a reboot there is nothing to restore. */
  readonly boot: string;
  readonly entries: Readonly<Record<string, JournalEntry>>;
  /** Tunnel devices and UDP ports. Absent in files of earlier versions. */
  readonly tunnels?: readonly TunnelChange[];
  /** Connection synchronization daemons that the agent started. Absent in files of earlier versions. */
  readonly sync?: readonly SyncDaemonMade[];
  /** Some destination of IPVS may have weight 0 and places in a table. Absent: none has. */
  readonly lingering?: boolean;
}

/**
 * The only thing the agent keeps on disk: kernel settings as they were, and what it changed about tunnels and
 * IPVS that the kernel does not show. Written, synced and renamed
 * into place before a setting is changed, so that no crash can lose the way back.
 */
export class SysctlJournal {
  readonly #folder: string;
  readonly #path: string;
  readonly #boot: string;
  /** Settled when the last change is on disk. */
  #last: Promise<void> = Promise.resolve();

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
    return new Map(Object.entries((await this.#read())?.entries ?? {}));
  }

  /** What was changed about tunnels. Throws as {@link load} does. */
  async loadTunnels(): Promise<readonly TunnelChange[]> {
    return (await this.#read())?.tunnels ?? [];
  }

  /** Synchronization daemons that the agent started. Throws as {@link load} does. */
  async loadSync(): Promise<readonly SyncDaemonMade[]> {
    return (await this.#read())?.sync ?? [];
  }

  /** Whether destinations of weight 0 may have places in a scheduler's table from before. Throws as {@link load} does. */
  async loadLingering(): Promise<boolean> {
    return (await this.#read())?.lingering === true;
  }

  async #read(): Promise<JournalFile | undefined> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const file = JSON.parse(text) as JournalFile;
      if (file.boot !== this.#boot) return undefined;
      if (typeof file.entries !== 'object' || !Array.isArray(file.tunnels ?? []) || !Array.isArray(file.sync ?? []))
        throw new Error('not a journal');
      return file;
    } catch (error) {
      throw new Error(`${this.#path} is damaged; put the settings right by hand and remove it`, { cause: error });
    }
  }

  /** Replaces the record of settings. */
  save(entries: ReadonlyMap<string, JournalEntry>): Promise<void> {
    return this.#change((file) => ({ ...file, entries: Object.fromEntries(entries) }));
  }

  /** Replaces the record of tunnels. */
  saveTunnels(tunnels: readonly TunnelChange[]): Promise<void> {
    return this.#change((file) => ({ ...file, tunnels }));
  }

  /** Replaces the record of synchronization daemons. */
  saveSync(sync: readonly SyncDaemonMade[]): Promise<void> {
    return this.#change((file) => ({ ...file, sync }));
  }

  /** Replaces the note about lingering destinations. */
  saveLingering(lingering: boolean): Promise<void> {
    return this.#change((file) => ({ ...file, lingering }));
  }

  /** One change after the other, since each rewrites what the other one keeps; an empty record removes the file. */
  #change(edit: (file: JournalFile) => JournalFile): Promise<void> {
    const changed = this.#last.then(async () => {
      const { boot, entries, tunnels = [], sync = [], lingering = false } = edit((await this.#read()) ?? { boot: this.#boot, entries: {} });
      const empty = Object.keys(entries).length + tunnels.length + sync.length === 0 && !lingering;
      if (empty) return rm(this.#path, { force: true });
      await this.#write({
        ...{ boot, entries, ...(tunnels.length === 0 ? {} : { tunnels }), ...(sync.length === 0 ? {} : { sync }) },
        ...(lingering ? { lingering } : {}),
      });
    });
    this.#last = changed.catch(() => {});
    return changed;
  }

  async #write(content: JournalFile): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o755 });
    const temporary = `${this.#path}.new`;
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
