/** Counts of what a process holds, from /proc. */
import { readdirSync } from 'node:fs';

export const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
export const threads = (): number => readdirSync('/proc/self/task').length;

/** Collects garbage; the test runner starts Node with --expose-gc. */
export function collectGarbage(): void {
  if (globalThis.gc === undefined) throw new Error('run with --expose-gc');
  globalThis.gc();
}

/** Resolves when the condition holds; fails after ten seconds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not within ten seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Network namespaces need a right that not every test machine gives. */
export async function skipWithoutNamespaces(
  t: { skip(reason: string): void },
  create: () => Promise<{ close(): Promise<void> }>,
): Promise<boolean> {
  try {
    await (await create()).close();
    return false;
  } catch (error) {
    if (!String(error).includes('EPERM')) throw error;
    t.skip('unshare(CLONE_NEWNET) needs CAP_SYS_ADMIN');
    return true;
  }
}
