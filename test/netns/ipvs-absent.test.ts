/** What a kernel without IPVS answers. Where the kernel has it, test/vm-suite runs here instead. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { test } from 'node:test';
import { UnsupportedError } from '../../src/native/errors.ts';
import { Ipvs } from '../../src/native/ipvs.ts';
import { Netns } from '../../src/native/netns.ts';

/** Whether the kernel has the family, asked of the kernel itself: asking loads the module where there is one. */
async function hasIpvs(): Promise<boolean> {
  await (await Ipvs.open().catch(() => undefined))?.close();
  return existsSync('/proc/sys/net/ipv4/vs') || existsSync('/proc/net/ip_vs');
}

const skip = (await hasIpvs()) ? `this kernel, ${release()}, has ip_vs` : false;

test('a kernel without ip_vs: UnsupportedError that names the module', { skip }, async () => {
  const unsupported = (error: unknown): boolean =>
    error instanceof UnsupportedError &&
    error.feature === 'IPVS' &&
    error.hint === 'modprobe ip_vs' &&
    error.message.includes('modprobe ip_vs');
  await assert.rejects(Ipvs.open(), unsupported);
  await using netns = await Netns.create();
  await assert.rejects(Ipvs.open({ netns }), unsupported);
  // Again: the refusal leaves nothing behind that would change the answer.
  await assert.rejects(Ipvs.open({ netns }), unsupported);
});
