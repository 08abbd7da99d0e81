/** What ports that announce and watch in frames of their own (ARP, neighbour discovery) have in common. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ClosedError, KernelError } from '../../src/native/errors.ts';
import type { EventIterator } from '../../src/native/event-iterator.ts';
import type { OpenOptions } from '../../src/native/netns.ts';
import type { Cable } from './cable.ts';
import { ip, until } from './tools.ts';

type Overrun = { readonly type: 'overrun' };

interface FramePort<Packet> extends AsyncDisposable {
  announce(interfaceName: string, addresses: readonly string[]): Promise<number>;
  watch(interfaceName: string, options?: { signal?: AbortSignal }): EventIterator<Packet | Overrun>;
  close(): Promise<void>;
}

export interface FramePortCase<Packet> {
  readonly name: 'arp' | 'ndp';
  readonly open: (options: OpenOptions) => Promise<FramePort<Packet>>;
  readonly cable: () => Promise<Cable>;
  /** The i-th of many addresses. */
  readonly address: (i: number) => string;
  readonly framesPerAddress: number;
  /** Tells the frames of one call apart; undefined for what `left` did not announce. */
  readonly announced: (packet: Packet) => string | undefined;
}

async function drain(watch: AsyncIterable<unknown>): Promise<void> {
  for await (const event of watch) assert.ok(event);
}

export function framePortSuite<Packet extends object>(port: FramePortCase<Packet>): void {
  const { name, open, cable, framesPerAddress } = port;
  const ADDRESS = port.address(1);

  suite('as every port of frames', () => {
    test('1,500 addresses in one call', async () => {
      await using wire = await cable();
      await using listener = await open({ netns: wire.right });
      const watch = listener.watch('right');
      await watch.started;
      const heard = new Set<string>();
      let overrun = false;
      const over = (async () => {
        for await (const event of watch) {
          const key = 'type' in event ? undefined : port.announced(event);
          if ('type' in event) overrun = true;
          else if (key !== undefined) heard.add(key);
        }
      })();
      await using announcer = await open({ netns: wire.left });
      const addresses = Array.from({ length: 1500 }, (_, i) => port.address(i + 1));
      const frames = addresses.length * framesPerAddress;
      assert.equal(await announcer.announce('left', addresses), frames);
      await until('all of them', () => heard.size === frames || overrun);
      assert.equal(overrun, false);
      await watch.return();
      await over;
    });

    test('refusals to announce name the interface and the reason', async () => {
      await using wire = await cable();
      await using announcer = await open({ netns: wire.left });
      const failing = async (interfaceName: string): Promise<KernelError> => {
        const error: unknown = await announcer.announce(interfaceName, [ADDRESS]).then(
          () => undefined,
          (reason: unknown) => reason,
        );
        assert.ok(error instanceof KernelError, String(error));
        assert.deepEqual([error.op, error.subject], [`${name}.announce`, interfaceName]);
        return error;
      };
      assert.equal((await failing('missing0')).code, 'ENODEV');
      assert.match((await failing('lo')).message, /EAFNOSUPPORT: not an Ethernet device$/);
      await ip(wire.left, 'link', 'set', 'left', 'down');
      assert.equal((await failing('left')).code, 'ENETDOWN');
    });

    test('watching an interface that is missing, not Ethernet, or goes down is refused', async () => {
      await using wire = await cable();
      await using listener = await open({ netns: wire.left });
      await assert.rejects(
        listener.watch('missing0').next(),
        (error) => KernelError.is(error, 'ENODEV') && error.op === `${name}.watch` && error.subject === 'missing0',
      );
      await assert.rejects(listener.watch('lo').next(), (error) => KernelError.is(error, 'EAFNOSUPPORT'));
      const watch = listener.watch('left');
      await watch.started;
      const refused = assert.rejects(drain(watch), (error) => KernelError.is(error, 'ENETDOWN') && error.subject === 'left');
      await ip(wire.left, 'link', 'set', 'left', 'down');
      await refused;
      assert.deepEqual(await watch.next(), { done: true, value: undefined });
    });

    test('the signal, close() and the namespace end a watch', async () => {
      const wire = await cable();
      const both = await open({ netns: wire.left });
      const abort = new AbortController();
      const first = both.watch('left', { signal: abort.signal });
      await first.started;
      const drained = drain(first);
      abort.abort();
      await drained;
      assert.deepEqual(await both.watch('left', { signal: abort.signal }).next(), { done: true, value: undefined });
      const other = await open({ netns: wire.left });
      const second = other.watch('left');
      await second.started;
      const alsoDrained = drain(second);
      await other.close();
      await alsoDrained;
      const third = both.watch('left');
      await third.started;
      const drainedToo = drain(third);
      await wire[Symbol.asyncDispose]();
      await drainedToo;
      await assert.rejects(both.announce('left', [ADDRESS]), ClosedError);
      await both.close();
      await assert.rejects(both.announce('left', [ADDRESS]), ClosedError);
    });
  });
}
