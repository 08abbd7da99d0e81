/** Handles that are dropped, workers that end, processes that exit: at any moment, without a crash or a leak. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Arp } from '../../src/native/arp.ts';
import { ClosedError } from '../../src/native/errors.ts';
import { Links } from '../../src/native/links.ts';
import { Ndp } from '../../src/native/ndp.ts';
import { Netns } from '../../src/native/netns.ts';
import { collectGarbage, openDescriptors, skipWithoutNamespaces, threads, until } from './processes.ts';

const root = new URL('../../', import.meta.url);

/** Runs a program of one module in a fresh process; rejects when it fails or a signal ends it. */
async function program(source: string): Promise<string> {
  const body = `import { Netns } from '${new URL('src/native/netns.ts', root).href}';
import { Links } from '${new URL('src/native/links.ts', root).href}';
${source}`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', body],
    { timeout: 20_000 },
  );
  return stdout.trim();
}

suite('worker threads', () => {
  test('workers end while busy, terminated or by themselves, and leave nothing behind', async () => {
    const before = { descriptors: openDescriptors(), threads: threads() };
    for (let round = 0; round < 12; round++) {
      const ends = round % 3 === 0;
      const worker = new Worker(new URL('worker-body.ts', import.meta.url), { workerData: { ends } });
      await once(worker, 'message');
      if (ends) await once(worker, 'exit');
      else {
        // A different moment each round.
        for (let turn = 0; turn < round * 3; turn++) await new Promise((resolve) => setImmediate(resolve));
        await worker.terminate();
      }
    }
    await until(
      'threads and descriptors of the workers are gone',
      () => threads() <= before.threads && openDescriptors() <= before.descriptors,
    );
    // The addon still works here.
    await using links = await Links.open();
    assert.ok((await links.links()).length > 0);
  });

  test('two environments at once do not disturb each other', async () => {
    const worker = new Worker(new URL('worker-body.ts', import.meta.url), { workerData: { ends: false } });
    await once(worker, 'message');
    await using links = await Links.open();
    for (let i = 0; i < 200; i++) assert.ok((await links.links()).some(({ name }) => name === 'lo'));
    await worker.terminate();
  });
});

suite('the end of a process', () => {
  test('exit() while calls are in flight and a watch is open', async () => {
    const source = `const links = await Links.open();
const watch = links.watch(['link']); await watch.started;
for (let i = 0; i < 1000; i++) links.routes().catch(() => undefined);
console.log('leaving'); process.exit(0);`;
    for (let i = 0; i < 5; i++) assert.equal(await program(source), 'leaving');
  });

  test('an idle handle that was never closed does not keep the process', async () => {
    assert.equal(await program(`const links = await Links.open(); console.log((await links.links()).length > 0);`), 'true');
  });

  test('an open watch keeps it, and closing the watch lets it go', async () => {
    const source = `const links = await Links.open();
const watch = links.watch(['link']); await watch.started;
setTimeout(() => { console.log('still here'); watch.return(); }, 200).unref();`;
    assert.equal(await program(source), 'still here');
  });

  test('an exception thrown while a call settles is an uncaught exception, not a crash', async () => {
    const source = `process.once('uncaughtException', (error) => { console.log(error.message); });
const links = await Links.open(); links.links().then(() => { throw new Error('mine'); });`;
    assert.equal(await program(source), 'mine');
  });
});

suite('handles without an owner', () => {
  test('unclosed handles are collected with their threads and descriptors', async (t) => {
    if (await skipWithoutNamespaces(t, () => Netns.create())) return;
    // The process's own namespace keeps one thread from here on.
    await (await Links.open()).close();
    const before = { descriptors: openDescriptors(), threads: threads() };
    await (async () => {
      for (let i = 0; i < 20; i++) {
        const netns = await Netns.create();
        const links = await Links.open({ netns });
        await links.links();
        await Arp.open({ netns });
        await Ndp.open({ netns });
        await Links.open();
      }
    })();
    assert.ok(threads() > before.threads);
    await until('all are collected', () => {
      collectGarbage();
      return threads() <= before.threads && openDescriptors() <= before.descriptors;
    });
  });

  test('a call in flight keeps its namespace until it is settled', async (t) => {
    if (await skipWithoutNamespaces(t, () => Netns.create())) return;
    const started = async () => {
      const links = await Links.open({ netns: await Netns.create() });
      return Array.from({ length: 50 }, () => links.links());
    };
    const calls = await started();
    for (let i = 0; i < 5; i++) collectGarbage();
    for (const links of await Promise.all(calls)) assert.ok(links.some(({ name }) => name === 'lo'));
  });

  test('closing a namespace settles every call: those that had not begun with ClosedError', async (t) => {
    if (await skipWithoutNamespaces(t, () => Netns.create())) return;
    const netns = await Netns.create();
    const links = await Links.open({ netns });
    const calls = Array.from({ length: 500 }, () => links.links());
    const outcomes = Promise.allSettled(calls);
    await netns.close();
    const refused = (await outcomes).filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    assert.ok(refused.length > 0);
    for (const { reason } of refused) assert.ok(reason instanceof ClosedError, String(reason));
    assert.throws(() => netns.fd, ClosedError);
    await links.close();
    await netns.close();
  });
});

/**
 * The least that resident memory grew over one of five repetitions, in MiB. A leak grows in each of
 * them; the engine's own heap moves by tens of MiB, but not every time.
 */
async function leastGrowth(work: () => Promise<void>): Promise<number> {
  const growths: number[] = [];
  for (let window = 0; window < 5; window++) {
    collectGarbage();
    const before = process.memoryUsage.rss();
    await work();
    collectGarbage();
    growths.push((process.memoryUsage.rss() - before) / 2 ** 20);
  }
  return Math.min(...growths);
}

suite('leaks', () => {
  test('300 rounds of open, call, watch and close leave memory, descriptors and threads as they were', async () => {
    // Entering a namespace, even one's own, needs CAP_SYS_ADMIN.
    const mayEnter = await Netns.fromPid(process.pid).then(
      async (netns) => netns.close().then(() => true),
      () => false,
    );
    const round = async () => {
      const netns = mayEnter ? await Netns.fromPid(process.pid) : Netns.current();
      const links = await Links.open({ netns });
      const watch = links.watch(['link']);
      await Promise.all([links.links(), links.addresses(), links.routes(), links.apply([{ op: 'deleteLink', name: 'missing0' }])]);
      await watch.started;
      await watch.return();
      const arp = await Arp.open({ netns });
      await arp.announce('missing0', ['192.0.2.1']).catch(() => undefined);
      await arp.close();
      const ndp = await Ndp.open({ netns });
      await ndp.announce('missing0', ['2001:db8::1']).catch(() => undefined);
      await ndp
        .watch('missing0')
        .next()
        .catch(() => undefined);
      await links.routeTo('127.0.0.1').catch(() => undefined);
      await ndp.close();
      await links.close();
      await netns.close();
    };
    const rounds = async (count: number) => {
      for (let i = 0; i < count; i++) await round();
    };
    await rounds(50);
    collectGarbage();
    const before = { descriptors: openDescriptors(), threads: threads() };
    const grown = await leastGrowth(() => rounds(60));
    await until('threads and descriptors are back', () => {
      collectGarbage();
      return threads() <= before.threads && openDescriptors() <= before.descriptors;
    });
    // 256 KiB of receive buffer that leaked a round would be 15 MiB.
    assert.ok(grown < 2, `${grown.toFixed(1)} MiB more each time`);
  });

  test('100,000 calls on one handle do not grow the process', async () => {
    await using links = await Links.open();
    const calls = async () => {
      for (let i = 0; i < 20_000; i += 500) await Promise.all(Array.from({ length: 500 }, () => links.links()));
    };
    await calls();
    const grown = await leastGrowth(calls);
    // 128 bytes that leaked a call would be 2.4 MiB.
    assert.ok(grown < 2, `${grown.toFixed(1)} MiB more each time`);
  });
});
