/** How subscriptions end, and what they must not take with them. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { suite, test } from 'node:test';
import { Arp } from '../../src/native/arp.ts';
import { KernelError } from '../../src/native/errors.ts';
import { Links } from '../../src/native/links.ts';
import { Netns } from '../../src/native/netns.ts';
import { ip } from './tools.ts';

/** Holds the event loop while other threads and processes go on. */
function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

function downWithoutTheEventLoop(netns: Netns, name: string): void {
  execFileSync('nsenter', [`--net=${netns.path}`, 'ip', 'link', 'set', name, 'down']);
}

const down = (error: unknown): boolean => KernelError.is(error, 'ENETDOWN');

suite('subscriptions', () => {
  test('a failure is delivered after whatever number of events', async () => {
    await using near = await Netns.create();
    await using far = await Netns.create();
    await ip(near, 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far');
    await ip(near, 'link', 'set', 'far', 'netns', far.path);
    await ip(near, 'link', 'set', 'near', 'up');
    await ip(far, 'link', 'set', 'far', 'up');
    await using arp = await Arp.open({ netns: near });
    await using sender = await Arp.open({ netns: far });
    const watch = arp.watch('near');
    await watch.started;
    // Twice 3,000 frames: more than the addon keeps for an event loop that does not come round.
    const sent = sender.announce(
      'far',
      Array.from({ length: 3000 }, (_, i) => `10.9.${i >> 8}.${i & 255}`),
    );
    block(500);
    downWithoutTheEventLoop(near, 'near');
    block(200);
    assert.equal(await sent, 6000);
    const reading = async (): Promise<void> => {
      for await (const event of watch) assert.ok('type' in event || event.senderAddress.startsWith('10.9.'));
    };
    await assert.rejects(reading(), down);
  });

  test('a watch that failed does not end another that has its descriptor number now', async () => {
    await using netns = await Netns.create();
    await ip(netns, 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far');
    await ip(netns, 'link', 'set', 'near', 'up');
    await ip(netns, 'link', 'set', 'far', 'up');
    await using links = await Links.open({ netns });
    await using arp = await Arp.open({ netns });
    const failing = arp.watch('near');
    await failing.started;
    // The next socket gets the lowest number that is free: leave none below that of the watch.
    const others = Array.from({ length: 16 }, () => openSync('/dev/null', 'r'));
    const failed = assert.rejects(failing.next(), down);
    downWithoutTheEventLoop(netns, 'near');
    block(200);
    // The failure waits for the event loop; its descriptor is closed and this subscription takes the number.
    const watch = links.watch(['link']);
    await watch.started;
    await failed;
    // Calls on the namespace run in order: the failed watch has been taken off by the end of this one.
    await links.links();
    await links.apply([{ op: 'setLink', name: 'far', mtu: 1400 }]);
    const event = await watch.next();
    assert.ok(event.done !== true && event.value.type === 'link', JSON.stringify(event));
    await watch.return();
    for (const descriptor of others) closeSync(descriptor);
  });
});
