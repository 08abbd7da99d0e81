/**
 * Every function and method of the addon itself, below the TypeScript that checks arguments: open
 * and closed, with the wrong `this` and with arguments of every wrong kind. Anything but an error of
 * a known class is a failure; a crash ends the process, and the test with it.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { addon } from '../../src/native/addon.ts';
import { ClosedError, KernelError, ProtocolError, TimeoutError, UnsupportedError } from '../../src/native/errors.ts';

type Method = (this: unknown, ...args: readonly unknown[]) => unknown;
type Handle = Readonly<Record<string, Method>>;

const exports = addon() as Readonly<Record<string, Method>>;

const hostile: readonly unknown[] = [
  undefined,
  null,
  true,
  -1,
  0.5,
  NaN,
  Infinity,
  2 ** 53,
  7n,
  '',
  'x'.repeat(70_000),
  '\0',
  Symbol('s'),
  {},
  [],
  [{}],
  () => undefined,
  new ArrayBuffer(0),
  new ArrayBuffer(73),
  new Uint8Array(5),
  new Float64Array(3),
  new Proxy({}, {}),
  Object.create(null),
];

/** All argument lists of length 0, 1 and 2, and triples of one value in a good place each. */
function* argumentLists(): Generator<readonly unknown[]> {
  yield [];
  for (const a of hostile) {
    yield [a];
    for (const b of hostile) {
      yield [a, b];
      yield [a, b, hostile[(hostile.indexOf(a) + hostile.indexOf(b)) % hostile.length]];
      yield [a, b, 1000, 4096];
    }
  }
}

const known = [TypeError, RangeError, KernelError, UnsupportedError, ClosedError, ProtocolError, TimeoutError];

/** The error a call came to; undefined for none. What it opened is closed again. */
async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    const value: unknown = await call();
    if (typeof value === 'function') (value as () => void)();
    const close = (value as { close?: () => Promise<void> } | undefined)?.close;
    if (typeof close === 'function') await close.call(value);
    return undefined;
  } catch (error) {
    return error;
  }
}

function assertKnown(error: unknown, what: string): void {
  assert.ok(error === undefined || known.some((type) => error instanceof type), `${what}: ${String(error)}`);
}

/** Methods of a handle. Accessors would be a defect: the engine does not check the class of their `this`. */
function methodsOf(handle: object): [string, Method][] {
  const prototype = Object.getPrototypeOf(handle) as object;
  return Object.entries(Object.getOwnPropertyDescriptors(prototype)).flatMap(([name, descriptor]) => {
    assert.equal(typeof descriptor.value, 'function', name);
    return name === 'constructor' ? [] : [[name, descriptor.value as Method]];
  });
}

const current = () => exports['netnsCurrent']!() as Handle;
/** Opens one handle of each class that this kernel gives without a module. */
const openers: Record<string, () => Promise<Handle>> = {
  NetnsHandle: () => Promise.resolve(current()),
  LinksHandle: () => exports['linksOpen']!(current(), 1000, 65536) as Promise<Handle>,
  ArpHandle: () => exports['arpOpen']!(current(), 1000, 65536) as Promise<Handle>,
  NdpHandle: () => exports['ndpOpen']!(current(), 1000, 65536) as Promise<Handle>,
  FouHandle: () => exports['fouOpen']!(current(), 1000, 65536) as Promise<Handle>,
  NftablesHandle: () => exports['nftablesOpen']!(current(), 1000, 65536) as Promise<Handle>,
};

// Joining the groups of nfnetlink needs CAP_NET_ADMIN.
const refused = await errorOf(openers['NftablesHandle']!);
if (refused !== undefined) {
  Reflect.deleteProperty(openers, 'NftablesHandle');
  assert.ok(KernelError.is(refused, 'EPERM'), refused instanceof Error ? refused.message : 'not an Error');
  test('NftablesHandle', (t) => t.skip('opening nftables needs CAP_NET_ADMIN'));
}

// Its generic netlink family comes with a module.
const missing = await errorOf(openers['FouHandle']!);
if (missing !== undefined) {
  Reflect.deleteProperty(openers, 'FouHandle');
  assert.ok(missing instanceof UnsupportedError, missing instanceof Error ? missing.message : 'not an Error');
  test('FouHandle', (t) => t.skip('this kernel has no fou'));
}

suite('functions of the addon', () => {
  for (const [name, call] of Object.entries(exports)) {
    if (typeof call !== 'function') continue;
    test(`${name}() with arguments of every wrong kind`, async () => {
      for (const args of argumentLists()) {
        // A function is what setErrorFactory() wants, and netnsCreate() ignores arguments.
        if (name === 'setErrorFactory' && typeof args[0] === 'function') continue;
        if (name === 'netnsCreate' && args.length > 0) continue;
        assertKnown(await errorOf(() => call.call(undefined, ...args)), `${name}(${args.map((arg) => typeof arg).join(', ')})`);
      }
    });
  }

  test('open functions take no handle of another class and none that is closed', async () => {
    const links = await openers['LinksHandle']!();
    const closed = current();
    await closed['close']!.call(closed);
    for (const name of Object.keys(exports).filter((candidate) => candidate.endsWith('Open'))) {
      assert.ok((await errorOf(() => exports[name]!(links, 1000, 65536))) instanceof TypeError, name);
      assert.ok((await errorOf(() => exports[name]!(closed, 1000, 65536))) instanceof ClosedError, name);
    }
    await links['close']!.call(links);
  });
});

for (const [className, open] of Object.entries(openers)) {
  suite(className, () => {
    test('has a constructor that cannot be called', async () => {
      const handle = await open();
      const constructor = handle.constructor as unknown as { new (): unknown; (): unknown };
      assert.equal((handle.constructor as { name: string }).name, className);
      assert.throws(() => new constructor(), TypeError);
      assert.throws(() => constructor(), TypeError);
      await handle['close']!.call(handle);
    });

    test('every method refuses a wrong this', async () => {
      const handle = await open();
      const others = await Promise.all(Object.entries(openers).flatMap(([name, other]) => (name === className ? [] : [other()])));
      const wrong: readonly unknown[] = [
        undefined,
        null,
        7,
        'x',
        {},
        [],
        Object.create(Object.getPrototypeOf(handle) as object),
        Object.create(handle),
        ...others,
      ];
      for (const [name, method] of methodsOf(handle)) {
        for (const receiver of wrong) {
          assert.throws(() => method.call(receiver), TypeError, `${className}.${name}`);
        }
      }
      for (const one of [handle, ...others]) await one['close']!.call(one);
    });

    test('every method takes arguments of every wrong kind without harm', async () => {
      const handle = await open();
      for (const [name, method] of methodsOf(handle)) {
        if (name === 'close') continue;
        for (const args of argumentLists()) {
          assertKnown(await errorOf(() => method.call(handle, ...args)), `${className}.${name}`);
        }
      }
      await handle['close']!.call(handle);
    });

    test('every method of a closed handle is ClosedError or TypeError; close() again does nothing', async () => {
      const handle = await open();
      await handle['close']!.call(handle);
      for (const [name, method] of methodsOf(handle)) {
        if (name === 'close') continue;
        for (const args of [
          [],
          [1, () => undefined],
          ['lo', new Uint8Array(4), 3],
          [new ArrayBuffer(72), ['']],
          [2, 'x', 'y'],
          ['x', () => undefined],
        ]) {
          const error = await errorOf(() => method.call(handle, ...args));
          assert.ok(error instanceof ClosedError || error instanceof TypeError, `${className}.${name}: ${String(error)}`);
        }
      }
      await handle['close']!.call(handle);
    });

    test('calls in flight when the handle closes are all settled', async () => {
      const handle = await open();
      const calls = methodsOf(handle).flatMap(([name, method]) =>
        name === 'close' ? [] : [() => method.call(handle, 0, () => undefined)],
      );
      const settled = Array.from({ length: 50 }, () => calls.map((call) => errorOf(call))).flat();
      await handle['close']!.call(handle);
      for (const error of await Promise.all(settled)) assertKnown(error, className);
    });
  });
}
