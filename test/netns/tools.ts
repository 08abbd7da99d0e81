/** Oracles: the system's own tools, run inside a namespace of ours. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Netns } from '../../src/native/netns.ts';

const run = promisify(execFile);

/** Standard output of a program inside the namespace. */
export async function within(netns: Netns, ...command: readonly string[]): Promise<string> {
  const { stdout } = await run('nsenter', [`--net=${netns.path}`, ...command], { maxBuffer: 64 << 20 });
  return stdout;
}

export async function ip(netns: Netns, ...words: readonly string[]): Promise<void> {
  await within(netns, 'ip', ...words);
}

/** What `ip -j ...` prints. */
export async function ipJson(netns: Netns, ...words: readonly string[]): Promise<readonly Record<string, unknown>[]> {
  const text = await within(netns, 'ip', '-d', '-j', ...words);
  return text.trim() === '' ? [] : (JSON.parse(text) as readonly Record<string, unknown>[]);
}

/** Resolves when the condition holds; fails after ten seconds. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ten seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
