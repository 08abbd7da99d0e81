/** Opening Ipvs in every wrong way; handles that are open are misused in test/vm-suite/ipvs-misuse.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addon } from '../../src/native/addon.ts';
import { ClosedError } from '../../src/native/errors.ts';
import { Ipvs } from '../../src/native/ipvs.ts';
import { Netns, netnsHandle } from '../../src/native/netns.ts';

type Function = (...args: unknown[]) => unknown;

test('Ipvs is made by open() only', () => {
  const Constructor = Ipvs as unknown as new (...args: unknown[]) => Ipvs;
  assert.throws(() => new Constructor(), TypeError);
  assert.throws(() => new Constructor(Symbol('internal'), {}), TypeError);
});

test('methods need an Ipvs', async () => {
  for (const name of Object.getOwnPropertyNames(Ipvs.prototype)) {
    if (name === 'constructor') continue;
    const method = Object.getOwnPropertyDescriptor(Ipvs.prototype, name)?.value as Function;
    for (const self of [undefined, {}, Object.create(Ipvs.prototype) as object]) {
      await assert.rejects(async () => await method.call(self, name === 'apply' ? [{}] : 'master'), TypeError, name);
    }
  }
});

test('open() refuses options that are none', async () => {
  const refused: readonly (readonly [object, typeof TypeError | typeof RangeError, RegExp])[] = [
    [{ timeoutMs: 0 }, RangeError, /timeoutMs/],
    [{ timeoutMs: 1.5 }, RangeError, /timeoutMs/],
    [{ timeoutMs: '10' }, RangeError, /timeoutMs/],
    [{ receiveBufferBytes: 1 }, RangeError, /receiveBufferBytes/],
    [{ netns: {} }, TypeError, /netns/],
    [{ netns: null }, TypeError, /netns/],
    [{ netns: 'blue' }, TypeError, /netns/],
  ];
  for (const [options, type, message] of refused) {
    await assert.rejects(
      () => Ipvs.open(options),
      (error) => error instanceof type && message.test(error.message),
    );
  }
});

test('open() in a closed namespace is a ClosedError', async () => {
  const netns = await Netns.create();
  await netns.close();
  await assert.rejects(Ipvs.open({ netns }), ClosedError);
});

test('open() while the namespace closes settles', async () => {
  const netns = await Netns.create();
  const opening = Promise.allSettled([Ipvs.open({ netns }), Ipvs.open({ netns })]);
  await netns.close();
  for (const { status } of await opening) assert.match(status, /fulfilled|rejected/);
});

test("the addon's own function refuses what is not a namespace handle", () => {
  const open = addon()['ipvsOpen'] as Function;
  const handle = netnsHandle();
  for (const args of [[], [handle], [handle, 1000], [handle, '1000', 4096], [{}, 1000, 4096], [null, 1000, 4096], [open, 1000, 4096]]) {
    assert.throws(() => open(...args), TypeError);
  }
  assert.throws(() => open(Object.create(handle), 1000, 4096), TypeError);
});
