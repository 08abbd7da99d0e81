import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { SysctlJournal } from '../drivers/journal.ts';

/** The record of changed settings that belongs to the network namespace of this process, since this boot. */
export async function openJournal(folder: string, root: string): Promise<SysctlJournal> {
  const link = await readlink(join(root, 'proc/self/ns/net'));
  const namespace = /\[(\d+)\]/.exec(link)?.[1] ?? '0';
  const boot = (await readFile(join(root, 'proc/sys/kernel/random/boot_id'), 'utf8')).trim();
  return new SysctlJournal(folder, namespace, boot);
}
