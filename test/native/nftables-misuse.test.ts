/** Every method against wrong arguments, wrong receivers and closed handles; nothing of it may reach the kernel. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addon } from '../../src/native/addon.ts';
import { Netns, netnsHandle } from '../../src/native/netns.ts';
import { encodeProgram } from '../../src/native/nftables-encode.ts';
import { Nftables } from '../../src/native/nftables.ts';
import type { NftOperation } from '../../src/native/nftables-types.ts';

type Method = (...args: unknown[]) => unknown;
type Methods = Record<string, Method>;

const TABLE = { family: 'ip', name: 't' } as const;
const SET = { name: 's', key: ['ipv4_addr', 'inet_service'], value: 'verdict' } as const;

const isTypeError = (error: unknown): boolean => error instanceof TypeError;

/** A method of the addon throws at once, one of the class rejects: either will do. */
async function bothWays(call: () => unknown): Promise<void> {
  await assert.rejects(new Promise((resolve) => resolve(call())), isTypeError);
}

test('open() refuses what is no namespace and options out of range', async () => {
  for (const netns of [1, 'x', null, {}, [], Symbol('x'), () => 0]) {
    await assert.rejects(Nftables.open({ netns: netns as unknown as Netns }), isTypeError);
  }
  for (const timeoutMs of [0, -1, 1.5, NaN, Infinity, '5']) {
    await assert.rejects(Nftables.open({ timeoutMs: timeoutMs as number }), /^RangeError: timeoutMs: /);
  }
  await assert.rejects(Nftables.open({ receiveBufferBytes: 1 }), /^RangeError: receiveBufferBytes: /);
  assert.throws(() => new Nftables(Symbol('internal'), {} as never, 1), isTypeError);
});

/** Bad operations and the path that the message must begin with. */
const BAD: readonly [operation: unknown, message: RegExp][] = [
  [{ op: 'mendTable', table: TABLE }, /^TypeError: operations\[0\]\.op: unknown operation 'mendTable'/],
  [
    { op: 'addTable', table: { family: 'arp', name: 't' } },
    /^TypeError: operations\[0\]\.table\.family: expected ip, ip6 or inet, got 'arp'/,
  ],
  [{ op: 'addTable', table: { family: 'ip', name: '' } }, /^TypeError: operations\[0\]\.table\.name: is empty/],
  [{ op: 'addTable', table: { family: 'ip', name: 'a\0b' } }, /^TypeError: operations\[0\]\.table\.name: contains a NUL/],
  [{ op: 'addTable', table: { family: 'ip', name: 'ü'.repeat(128) } }, /^RangeError: operations\[0\]\.table\.name: longer than 255 bytes/],
  [{ op: 'addTable', table: { family: 'ip', name: 7 } }, /^TypeError: operations\[0\]\.table\.name: expected a string, got 7/],
  [
    { op: 'addChain', table: TABLE, chain: { name: 'c', hook: { type: 'nat', hook: 'ingress', priority: 0 } } },
    /^TypeError: operations\[0\]\.chain\.hook\.hook: unknown hook 'ingress'/,
  ],
  [
    { op: 'addChain', table: TABLE, chain: { name: 'c', hook: { type: 'nat', hook: 'input', priority: 2 ** 31 } } },
    /^RangeError: operations\[0\]\.chain\.hook\.priority: /,
  ],
  [{ op: 'addSet', table: TABLE, set: { name: 's', key: [] } }, /^RangeError: operations\[0\]\.set\.key: is empty/],
  [
    { op: 'addSet', table: TABLE, set: { name: 's', key: ['ether_addr'] } },
    /^TypeError: operations\[0\]\.set\.key\[0\]: unknown type 'ether_addr'/,
  ],
  [
    { op: 'addSet', table: TABLE, set: { name: 's', key: Array(6).fill('mark') } },
    /^RangeError: operations\[0\]\.set\.key: at most 5 fields/,
  ],
  [{ op: 'addSet', table: TABLE, set: { name: 's', key: ['mark'], value: [] } }, /^RangeError: operations\[0\]\.set\.value: is empty/],
  ...(
    [
      [{ kind: 'jump' }, /statements\[0\]\.kind: unknown statement 'jump'/],
      [{ kind: 'protocol', protocol: 256 }, /statements\[0\]\.protocol: expected an integer from 0 to 255, got 256/],
      [{ kind: 'source', address: '1.2.3', prefix: 8 }, /statements\[0\]\.address: expected an address, got '1\.2\.3'/],
      [{ kind: 'source', address: '1.2.3.4', prefix: 0 }, /statements\[0\]\.prefix: expected an integer from 1 to 32/],
      [{ kind: 'source', address: 'fd00::1', prefix: 64 }, /statements\[0\]\.address: ip6 address in a table of family ip/],
      [{ kind: 'markOr', bits: -1 }, /statements\[0\]\.bits: /],
      [{ kind: 'vmap', key: [], map: 'm' }, /statements\[0\]\.key: is empty/],
      [{ kind: 'vmap', key: ['ip6 daddr'], map: 'm' }, /statements\[0\]\.key\[0\]: ip6 daddr in a table of family ip/],
      [{ kind: 'vmap', key: ['ip options'], map: 'm' }, /statements\[0\]\.key\[0\]: unknown key part 'ip options'/],
      [{ kind: 'vmap', key: [{ numgen: 'random', modulus: 0 }], map: 'm' }, /statements\[0\]\.key\[0\]\.modulus: /],
      [{ kind: 'verdict', verdict: { verdict: 'queue' } }, /statements\[0\]\.verdict\.verdict: unknown verdict 'queue'/],
      [{ kind: 'verdict', verdict: { verdict: 'goto' } }, /statements\[0\]\.verdict\.chain: /],
      [{ kind: 'inSet', key: ['ct original ip6 daddr'], set: 's' }, /key\[0\]: ct original ip6 daddr in a table of family ip/],
      [{ kind: 'inSet', key: ['ct original proto-dst'], set: 's' }, /statements\[0\]: needs a statement on protocol any before it/],
      [{ kind: 'tcpSyn' }, /statements\[0\]: needs a statement on protocol 6 before it/],
      [{ kind: 'maxSegment', bytes: 1360 }, /statements\[0\]: needs a statement on protocol 6 before it/],
      ...['', 'eth*', 'x'.repeat(16), 'a b', 'a/b', '..', 'a"b', 7, undefined].map(
        (name) => [{ kind: 'inputInterface', name }, /statements\[0\]\.name: expected the name of an interface/] as const,
      ),
    ] as const
  ).map(([statement, message]): [unknown, RegExp] => [
    { op: 'addRule', table: TABLE, rule: { chain: 'c', statements: [statement] } },
    message,
  ]),
  ...[0, 65536, 1.5].map((bytes): [unknown, RegExp] => [
    {
      op: 'addRule',
      table: TABLE,
      rule: {
        chain: 'c',
        statements: [
          { kind: 'protocol', protocol: 6 },
          { kind: 'maxSegment', bytes },
        ],
      },
    },
    /statements\[1\]\.bytes: expected an integer from 1 to 65535/,
  ]),
  [
    { op: 'addRule', table: TABLE, rule: { chain: 'c', statements: [{ kind: 'protocol', protocol: 17 }, { kind: 'tcpSyn' }] } },
    /statements\[1\]: needs a statement on protocol 6 before it/,
  ],
  [{ op: 'addRule', table: TABLE, rule: { chain: 'c', statements: [] } }, /statements: count: expected an integer from 1 to 128/],
  [
    { op: 'addRule', table: TABLE, rule: { chain: 'c', statements: [{ kind: 'counter' }], comment: 'x'.repeat(128) } },
    /^RangeError: operations\[0\]\.rule\.comment: longer than 127 bytes/,
  ],
  [{ op: 'deleteRule', table: TABLE, chain: 'c', handle: 5 }, /^TypeError: operations\[0\]\.handle: expected a rule handle/],
  ...(
    [
      [{ key: ['1.2.3.4'] }, /elements\[0\]\.key: expected 2 fields \(ipv4_addr \. inet_service\)/],
      [{ key: ['fd00::1', 80] }, /elements\[0\]\.key\[0\]: expected an IPv4 address, got 'fd00::1'/],
      [{ key: ['1.2.3.4', 65536] }, /elements\[0\]\.key\[1\]: expected an integer from 0 to 65535 \(inet_service\), got 65536/],
      [{ key: ['1.2.3.4', 80n] }, /elements\[0\]\.key\[1\]: .*got 80n/],
      [{}, /elements\[0\]\.key: expected 2 fields/],
      [null, /elements\[0\]\.key: expected 2 fields/],
      [{ key: ['1.2.3.4', 80] }, /elements\[0\]\.value: expected a verdict/],
      [{ key: ['1.2.3.4', 80], value: { verdict: 'goto', chain: '' } }, /elements\[0\]\.value\.chain: is empty/],
      [{ key: ['1.2.3.4', 80], value: { verdict: 'drop' }, comment: 5 }, /elements\[0\]\.comment: expected a string, got 5/],
    ] as const
  ).map(([element, message]): [unknown, RegExp] => [{ op: 'addElements', table: TABLE, set: SET, elements: [element] }, message]),
  ...(
    [
      [{ count: -1, keys: new Uint8Array() }, /batch\.count: /],
      [{ count: 1, keys: new Uint8Array(7) }, /batch\.keys: expected 8 entries, got 7/],
      [{ count: 1, keys: new Uint8Array(8) }, /batch\.verdict: expected 1 entries, got none/],
      [
        { count: 1, keys: new Uint8Array(8), verdict: new Int32Array(1), chain: new Uint16Array(2), chains: [] },
        /batch\.chain: expected 1 entries, got 2/,
      ],
    ] as const
  ).map(([batch, message]): [unknown, RegExp] => [{ op: 'addElementBatch', table: TABLE, set: SET, batch }, message]),
];

test('bad operations are refused at their path and reach the kernel in no part', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const generation = await nftables.generation();
  for (const [operation, message] of BAD) {
    await assert.rejects(nftables.commit([operation as NftOperation]), message);
    await assert.rejects(nftables.check([operation as NftOperation]), message);
    const later = new RegExp(message.source.replace('operations\\[0\\]', 'operations\\[1\\]'));
    await assert.rejects(nftables.commit([{ op: 'addTable', table: TABLE }, operation as NftOperation]), later);
  }
  assert.equal(await nftables.generation(), generation);
  assert.deepEqual(await nftables.tables(), []);
  for (const ifGeneration of [-1, 1.5, 2 ** 32, 'x']) {
    await assert.rejects(nftables.commit([], { ifGeneration: ifGeneration as number }), /^RangeError: ifGeneration: /);
  }
  await assert.rejects(nftables.list({ family: 'ip', name: '' }), isTypeError);
  await assert.rejects(nftables.elements(TABLE, ''), isTypeError);
  assert.throws(() => nftables.watch({ receiveBufferBytes: 0 }), RangeError);
});

test('a chain index outside the batch is refused, not read', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const batch = { count: 1, keys: new Uint8Array(8), verdict: new Int32Array([-4]), chain: new Uint16Array([9]), chains: ['c'] };
  await assert.rejects(nftables.commit([{ op: 'addElementBatch', table: TABLE, set: SET, batch }]), { name: 'ProtocolError' });
});

test('a column of another kind is refused at its path: its bytes would be read as other rows', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const set = { name: 'm', key: ['ipv4_addr'], value: 'verdict' } as const;
  const good = { count: 1, keys: new Uint8Array(4), verdict: new Int32Array(1), chain: new Uint16Array([65535]) };
  await nftables.commit([
    { op: 'addTable', table: TABLE },
    { op: 'addSet', table: TABLE, set },
    { op: 'addElementBatch', table: TABLE, set, batch: good },
  ]);
  for (const wrong of [{ keys: new Uint32Array(4) }, { verdict: new Float64Array(1) }, { verdict: [1] }, { chain: new Uint32Array(1) }]) {
    const batch = { ...good, ...wrong } as unknown as typeof good;
    const path = `operations[0].batch.${Object.keys(wrong).join('')}: expected `;
    await assert.rejects(nftables.commit([{ op: 'addElementBatch', table: TABLE, set, batch }]), (error) => {
      assert.ok(error instanceof TypeError && error.message.startsWith(path), String(error));
      return true;
    });
  }
});

test("the addon's own methods refuse wrong arguments and wrong receivers", async () => {
  await using netns = await Netns.create();
  const exports = addon() as unknown as Methods;
  const open = exports['nftablesOpen']!;
  const handle = netnsHandle(netns);
  for (const args of [[], [handle], [handle, '1', 1], [{}, 1, 1], [null, 1, 1], [handle, 1]]) await bothWays(() => open(...args));

  const native = (await open(handle, 1000, 65536)) as Methods;
  const junk: unknown[] = [undefined, null, 1, 'x', {}, [], Symbol('x'), () => 0, 5n, new Uint16Array(1)];
  const arity: Readonly<Record<string, number>> = { list: 2, elements: 3, commit: 3, watch: 2 };
  for (const [name, count] of Object.entries(arity)) {
    await bothWays(() => native[name]!());
    for (const value of junk) await bothWays(() => native[name]!(...Array<unknown>(count).fill(value)));
  }
  for (const name of [...Object.keys(arity), 'generation', 'tables', 'close']) {
    for (const receiver of [undefined, null, {}, handle, nftablesLike(native)]) {
      await bothWays(() => native[name]!.call(receiver, 2, 't', 's'));
    }
  }
  const Constructor = native.constructor as unknown as new () => unknown;
  assert.throws(() => new Constructor(), isTypeError);
  // Programs that TypeScript would not write: refused by the reader, with the handle as good as before.
  for (const length of [1, 2, 17, 4096]) {
    const program = new Uint8Array(length).fill(255);
    await assert.rejects(native['commit']!(program, undefined, true) as Promise<unknown>, { name: 'ProtocolError' });
  }
  assert.equal(await native['generation']!(), 1);
  await native['close']!();
  await native['close']!();
});

/** Has the prototype, but nothing behind it. */
const nftablesLike = (native: Methods): unknown => Object.create(native.constructor.prototype as object);

test('methods of the class refuse other receivers', async () => {
  const methods = Nftables.prototype as unknown as Methods;
  for (const name of ['generation', 'tables', 'list', 'elements', 'commit', 'check', 'watch', 'close']) {
    for (const receiver of [{}, Object.create(Nftables.prototype) as unknown]) {
      await bothWays(() => methods[name]!.call(receiver, name === 'commit' || name === 'check' ? [] : TABLE, 's'));
    }
  }
});

test('after close() every method says so, and close() may be repeated', async () => {
  await using netns = await Netns.create();
  const nftables = await Nftables.open({ netns });
  const running = nftables.generation();
  const closing = nftables.close();
  assert.equal(await running, 1);
  await closing;
  await nftables.close();
  const closed = { name: 'ClosedError' };
  await assert.rejects(nftables.generation(), closed);
  await assert.rejects(nftables.tables(), closed);
  await assert.rejects(nftables.list(TABLE), closed);
  await assert.rejects(nftables.elements(TABLE, 's'), closed);
  await assert.rejects(nftables.commit([]), closed);
  await assert.rejects(nftables.check([]), closed);
  await assert.rejects(nftables.watch().next(), closed);
});

test('closing the namespace ends what waits in it', async () => {
  const netns = await Netns.create();
  const nftables = await Nftables.open({ netns });
  const calls = Array.from({ length: 200 }, () => nftables.commit([{ op: 'addTable', table: TABLE }]));
  const closing = netns.close();
  const outcomes = await Promise.allSettled(calls);
  await closing;
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') assert.equal((outcome.reason as Error).name, 'ClosedError');
  }
  await assert.rejects(nftables.generation(), { name: 'ClosedError' });
  // The socket is gone already: nothing is left that could fail.
  await nftables.close();
  await nftables.close();
});

test('the addon has copied a program when its method returns', async () => {
  await using netns = await Netns.create();
  const open = (addon() as unknown as Methods)['nftablesOpen']!;
  const native = (await open(netnsHandle(netns), 1000, 65536)) as Methods;
  const steps = encodeProgram([{ op: 'addTable', table: TABLE }]);
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  const committed = native['commit']!(step.value, undefined, true) as Promise<unknown>;
  step.value.fill(0xff);
  assert.equal(await committed, undefined);
  assert.deepEqual(await native['tables']!(), [{ family: 2, name: 't' }]);
  await native['close']!();
});

test('many calls leave no memory behind', async () => {
  await using netns = await Netns.create();
  await using nftables = await Nftables.open({ netns });
  const round = async (count: number): Promise<number> => {
    for (let k = 0; k < count; k++) {
      const calls = [nftables.commit([{ op: 'addTable', table: TABLE }]), nftables.list(TABLE), nftables.tables()];
      await Promise.all(calls);
      // A refusal costs the kernel a grace period, so not each time.
      if (k % 50 === 0) await assert.rejects(nftables.commit([{ op: 'createTable', table: TABLE }]));
    }
    (globalThis as { gc?: () => void }).gc?.();
    return process.memoryUsage().rss / 2 ** 20;
  };
  const before = await round(500);
  const after = await round(3000);
  assert.ok(after - before < 24, `resident memory grew from ${before.toFixed(1)} to ${after.toFixed(1)} MiB`);
});
