/** Operations on links that are refused, before anything is sent or by the kernel. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { suite, test } from 'node:test';
import type { LinkOperation } from '../../src/native/link-types.ts';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';
import { addressNamed } from './links-support.ts';

suite('links refused', () => {
  test('malformed operations are refused before anything is sent, at their path', async () => {
    await using netns = await Netns.create();
    await using links = await Links.open({ netns });
    const good: LinkOperation = { op: 'addAddress', interface: 'lo', address: '192.0.2.10', prefix: 32 };
    const bad: readonly [object, RegExp][] = [
      [{ address: '192.0.2' }, /^operations\[1\]\.address: not an IP address: "192\.0\.2"$/],
      [{ address: 7 }, /^operations\[1\]\.address/],
      [{ prefix: 33 }, /^operations\[1\]\.prefix: expected an integer from 0 to 32, got 33$/],
      [{ prefix: 1.5 }, /^operations\[1\]\.prefix/],
      [{ interface: 'a-name-too-long-for-it' }, /^operations\[1\]\.interface: not an interface name/],
      [{ interface: '' }, /^operations\[1\]\.interface/],
      [{ interface: 'a/b' }, /^operations\[1\]\.interface/],
      [{ protocol: 256 }, /^operations\[1\]\.protocol/],
      [{ validSeconds: 0 }, /^operations\[1\]\.validSeconds/],
      [{ op: 'explode' }, /^operations\[1\]\.op: unknown operation "explode"$/],
    ];
    for (const [change, message] of bad) {
      await assert.rejects(links.apply([good, { ...good, ...change }] as LinkOperation[]), { message });
    }
    assert.equal(await addressNamed(links, '192.0.2.10'), undefined);
  });

  test('without CAP_NET_ADMIN a change is EPERM, and reading works', async () => {
    const program = fileURLToPath(new URL('without-capability.ts', import.meta.url));
    const { stdout } = await promisify(execFile)('setpriv', [
      '--bounding-set=-all',
      '--inh-caps=-all',
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      program,
    ]);
    const said = JSON.parse(stdout) as { links: string; add: string; create: string; arp: string; ndp: string };
    assert.equal(said.links, 'ok');
    assert.match(said.add, /^KernelError: links\.addAddress 192\.0\.2\.10\/32 on lo: EPERM/);
    assert.match(said.create, /^KernelError: netns\.create unshare: EPERM: needs CAP_SYS_ADMIN/);
    assert.match(said.arp, /^KernelError: arp\.announce lo: EPERM: needs CAP_NET_RAW/);
    assert.match(said.ndp, /^KernelError: ndp\.announce lo: EPERM: needs CAP_NET_RAW/);
  });
});
