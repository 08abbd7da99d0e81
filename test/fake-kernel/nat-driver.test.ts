/** The nftables backend on the fake kernel: who is translated to what, in both families, and what it costs. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { natServices } from '../../src/cli/nat-status.ts';
import type { DesiredNat, DesiredNatService } from '../../src/desired/types.ts';
import { natKey } from '../../src/diff/nat-state.ts';
import { NAT_TABLE, NAT_TABLE_6 } from '../../src/diff/nat-layout.ts';
import { NatDriver } from '../../src/drivers/nat.ts';
import { nftJudge } from '../../src/reconcile/drift.ts';
import { FakeKernel } from './kernel.ts';
import { traceNode, type Packet } from './trace.ts';

const VIP4 = '192.0.2.10';
const VIP6 = '2001:db8::10';

function service(address: string, port: number, pods: readonly string[], rest: Partial<DesiredNatService> = {}): DesiredNatService {
  const id = { address, protocol: 6, port };
  return { key: natKey(id), ...id, comment: 'shop/api:http', pods: pods.map((pod) => ({ address: pod, port: 8080 })), ...rest };
}

const mapOf = (...services: DesiredNatService[]) => new Map(services.map((each) => [each.key, each]));

const empty: DesiredNat = { services: new Map(), addresses: [], masquerade: { enabled: false } };

async function programmed(wanted: DesiredNat): Promise<{ kernel: FakeKernel; nat: NatDriver }> {
  const kernel = new FakeKernel();
  const nat = new NatDriver(kernel.nftables);
  const { failures } = await nat.apply(await nat.plan(wanted));
  assert.deepEqual(failures, []);
  return { kernel, nat };
}

const packet = (destination: string, port: number, from = 'eth0', source = '198.51.100.7'): Packet => ({
  ...{ source, destination, protocol: 6, port, from },
});

/** `pod share` of each way, with a star where the source is masqueraded. */
function ways(kernel: FakeKernel, sent: Packet): string[] {
  return traceNode(kernel, sent).map(
    ({ at, source, share }) => `${at.replace(/:\d+$/, '')} ${Math.round(share * 1000) / 1000}${source === 'masqueraded' ? ' *' : ''}`,
  );
}

suite('two families', () => {
  const both: DesiredNat = {
    ...empty,
    services: mapOf(service(VIP4, 80, ['10.50.1.2', '10.50.1.3']), service(VIP6, 80, ['fd00:50::2'])),
    addresses: [VIP4, VIP6],
  };

  test('each has its table, its counters, and what it holds', async () => {
    const { kernel, nat } = await programmed(both);
    assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['10.50.1.2 0.5', '10.50.1.3 0.5']);
    assert.deepEqual(ways(kernel, packet(VIP6, 80, 'eth0', '2001:db8::7')), ['fd00:50::2 1']);
    assert.deepEqual([...nat.held()].map(({ key }) => key).sort(), ['tcp 192.0.2.10:80', 'tcp [2001:db8::10]:80']);
    assert.equal(nat.heldAt('tcp [2001:db8::10]:80')?.pods[0]?.address, 'fd00:50::2');
    assert.deepEqual([...(await nat.connections())].sort(), [
      ['tcp 192.0.2.10:80', 0],
      ['tcp [2001:db8::10]:80', 0],
    ]);
    assert.deepEqual([nat.programmed('tcp [2001:db8::10]:80'), nat.programmed('tcp [2001:db8::10]:81')], [true, false]);
  });

  test('a machine without IPv6 writes nothing about it, and its table goes with the last that wants it', async () => {
    const { kernel, nat } = await programmed({ ...both, services: mapOf(service(VIP4, 80, ['10.50.1.2'])), addresses: [VIP4] });
    assert.equal(kernel.nftables.table(NAT_TABLE_6), undefined);
    await nat.apply(await nat.plan(both));
    assert.notEqual(kernel.nftables.table(NAT_TABLE_6), undefined);
    const four = { ...both, services: mapOf(service(VIP4, 80, ['10.50.1.2'])), addresses: [VIP4] };
    const plan = await nat.plan(four);
    assert.deepEqual(
      plan.services.map(({ key, change }) => [key, change]),
      [
        ['tcp 192.0.2.10:80', 'change'],
        ['tcp [2001:db8::10]:80', 'remove'],
      ],
    );
    await nat.apply(plan);
    assert.equal(kernel.nftables.table(NAT_TABLE_6), undefined);
    await nat.apply(await nat.plan(empty));
    assert.equal(kernel.nftables.table(NAT_TABLE), undefined);
    assert.equal((await nat.plan(empty)).empty, true);
  });

  test('a key that brings the first IPv6 makes the table; one that is not wanted makes none', async () => {
    const { kernel, nat } = await programmed({ ...both, services: mapOf(service(VIP4, 80, ['10.50.1.2'])), addresses: [VIP4] });
    assert.equal((await nat.plan({ ...both, services: new Map() }, new Set(['tcp [2001:db8::10]:80']))).empty, true);
    await nat.apply(await nat.plan(both, new Set(['tcp [2001:db8::10]:80'])));
    assert.deepEqual(ways(kernel, packet(VIP6, 80, 'eth0', '2001:db8::7')), ['fd00:50::2 1']);
  });

  test('a kernel that refuses the IPv6 table has the IPv4 rules, and the failure names it', async () => {
    for (const code of ['UNSUPPORTED', 'ENOENT', 'EOPNOTSUPP']) {
      const kernel = new FakeKernel();
      const nat = new NatDriver(kernel.nftables);
      kernel.faults.failNext({ op: 'nftables.commit', subject: 'on ip6', code, times: Infinity });
      const { failures } = await nat.apply(await nat.plan(both));
      assert.deepEqual(
        failures.map(({ subject }) => subject),
        ['table ip6 ravel'],
      );
      assert.match(failures[0]?.message ?? '', /^table ip6 ravel: /);
      assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['10.50.1.2 0.5', '10.50.1.3 0.5']);
      assert.equal(nat.known, false, 'it is asked again');
      kernel.faults.heal();
      assert.deepEqual((await nat.apply(await nat.plan(both))).failures, []);
      assert.deepEqual(ways(kernel, packet(VIP6, 80, 'eth0', '2001:db8::7')), ['fd00:50::2 1']);
    }
  });

  test('a refusal of IPv4 rejects, and IPv6 has its rules', async () => {
    const kernel = new FakeKernel();
    const nat = new NatDriver(kernel.nftables);
    kernel.faults.failNext({ op: 'nftables.commit', subject: 'on ip', after: 1, code: 'EPERM' });
    await assert.rejects(async () => nat.apply(await nat.plan(both)), { code: 'EPERM' });
    assert.equal(kernel.nftables.table(NAT_TABLE), undefined);
    assert.deepEqual(ways(kernel, packet(VIP6, 80, 'eth0', '2001:db8::7')), ['fd00:50::2 1']);
  });

  test('somebody else in either table is heard, a table of that name in another family is not', async () => {
    const { kernel } = await programmed(both);
    const heard: string[] = [];
    const judge = nftJudge((cause) => heard.push(cause));
    const ended = new AbortController();
    const listening = (async () => {
      for await (const event of kernel.nftables.watch({ signal: ended.signal })) judge(event);
    })();
    for (const table of [NAT_TABLE, NAT_TABLE_6, { family: 'inet', name: 'ravel' } as const]) {
      kernel.nftables.commitAsOther([{ op: 'addTable', table }]);
    }
    await new Promise(setImmediate);
    ended.abort();
    await listening.catch(() => {});
    assert.deepEqual(heard, ['table ip ravel was changed by somebody else', 'table ip6 ravel was changed by somebody else']);
  });
});

suite('shares', () => {
  test('what draws a share of another machine goes on untouched', async () => {
    const { kernel, nat } = await programmed({
      ...empty,
      services: mapOf(service(VIP4, 80, ['10.50.1.2', '10.50.1.3'], { slots: 5 })),
      addresses: [VIP4],
    });
    assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['10.50.1.2 0.2', '10.50.1.3 0.2', '192.0.2.10 0.6']);
    assert.deepEqual(ways(kernel, packet(VIP4, 80, 'local', VIP4)), ['10.50.1.2 0.2 *', '10.50.1.3 0.2 *', '192.0.2.10 0.6']);
    assert.equal(nat.heldAt('tcp 192.0.2.10:80')?.slots, 5);
  });

  test('of clients inside, those that draw such a share reach the pods that have it, and nobody else does', async () => {
    const inside = mapOf(service(VIP4, 80, ['10.50.2.2', '10.50.3.2']));
    const services = mapOf(service(VIP4, 80, ['10.50.1.2'], { slots: 4 }));
    const { kernel, nat } = await programmed({ ...empty, services, inside, outside: ['eth0'], addresses: [VIP4] });
    const everybody = ['10.50.1.2 0.25', '10.50.2.2 0.375', '10.50.3.2 0.375'];
    assert.deepEqual(ways(kernel, packet(VIP4, 80, 'veth1', '10.50.1.9')), everybody);
    assert.deepEqual(
      ways(kernel, packet(VIP4, 80, 'local', VIP4)),
      everybody.map((way) => `${way} *`),
    );
    assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['10.50.1.2 0.25', '192.0.2.10 0.75']);
    // Once all shares are here, nobody is looked up twice.
    await nat.apply(
      await nat.plan({ ...empty, services: mapOf(service(VIP4, 80, ['10.50.1.2'])), inside, outside: ['eth0'], addresses: [VIP4] }),
    );
    for (const from of ['eth0', 'veth1']) assert.deepEqual(ways(kernel, packet(VIP4, 80, from)), ['10.50.1.2 1']);
  });

  test('no other machine: no share is left out, and fewer slots than pods are as many', async () => {
    for (const slots of [undefined, 0, 1, 2]) {
      const { kernel, nat } = await programmed({
        ...empty,
        services: mapOf(service(VIP4, 80, ['10.50.1.2', '10.50.1.3'], slots === undefined ? {} : { slots })),
      });
      assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['10.50.1.2 0.5', '10.50.1.3 0.5']);
      assert.equal(nat.heldAt('tcp 192.0.2.10:80')?.slots, undefined);
    }
  });
});

suite('clients inside', () => {
  const wanted: DesiredNat = {
    ...empty,
    services: mapOf(service(VIP4, 80, ['10.50.1.2'])),
    inside: mapOf(service(VIP4, 81, ['10.50.2.2', '10.50.3.2']), service(VIP6, 81, ['fd00:50:2::2'])),
    outside: ['eth0', 'tunl0'],
    addresses: [VIP4, VIP6],
  };

  test('a pod and the machine itself reach pods elsewhere; what comes from a director does not', async () => {
    const { kernel, nat } = await programmed(wanted);
    assert.deepEqual(ways(kernel, packet(VIP4, 81, 'veth1', '10.50.1.9')), ['10.50.2.2 0.5', '10.50.3.2 0.5']);
    // The source of a process is the VIP, to which no pod elsewhere could answer.
    assert.deepEqual(ways(kernel, packet(VIP4, 81, 'local', VIP4)), ['10.50.2.2 0.5 *', '10.50.3.2 0.5 *']);
    assert.deepEqual(ways(kernel, packet(VIP6, 81, 'local', VIP6)), ['fd00:50:2::2 1 *']);
    for (const outside of ['eth0', 'tunl0']) assert.deepEqual(ways(kernel, packet(VIP4, 81, outside)), ['192.0.2.10 1']);
    assert.deepEqual([nat.heldAt('tcp 192.0.2.10:81'), nat.programmed('tcp 192.0.2.10:81')], [undefined, false]);
    assert.equal(nat.insideAt('tcp 192.0.2.10:81')?.pods.length, 2);
    assert.equal(nat.size, 3);
  });

  test('pods of this machine serve everybody, inside and outside', async () => {
    const { kernel } = await programmed(wanted);
    for (const from of ['eth0', 'veth1']) assert.deepEqual(ways(kernel, packet(VIP4, 80, from)), ['10.50.1.2 1']);
    assert.deepEqual(ways(kernel, packet(VIP4, 80, 'local', VIP4)), ['10.50.1.2 1 *']);
  });

  test('refused: nothing is translated', async () => {
    const { inside: _, ...local } = wanted;
    const { kernel } = await programmed(local);
    for (const from of ['veth1', 'local']) assert.deepEqual(ways(kernel, packet(VIP4, 81, from)), ['192.0.2.10 1']);
  });

  test('a virtual service that loses its last pod here is reached elsewhere at once, and is one change', async () => {
    const { kernel, nat } = await programmed(wanted);
    const moved = { ...wanted, services: new Map(), inside: mapOf(service(VIP4, 80, ['10.50.2.2'])) };
    const plan = await nat.plan(moved, new Set(['tcp 192.0.2.10:80']));
    assert.deepEqual(plan.services, [{ key: 'tcp 192.0.2.10:80', change: 'change' }]);
    kernel.journal.clear();
    await nat.apply(plan);
    assert.equal(kernel.nftables.transactionSizes.at(-1), kernel.writes, 'one transaction');
    assert.deepEqual(ways(kernel, packet(VIP4, 80, 'veth1', '10.50.1.9')), ['10.50.2.2 1']);
    assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['192.0.2.10 1']);
  });
});

suite('masquerading', () => {
  test('clients of what IPVS translates here appear as this machine, those of others do not', async () => {
    const masqueraded = new Map([
      ['tcp 192.0.2.10:80', { address: VIP4, protocol: 6, port: 80 }],
      ['tcp [2001:db8::10]:80', { address: VIP6, protocol: 6, port: 80 }],
    ]);
    const { kernel, nat } = await programmed({ ...empty, masqueraded });
    assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['192.0.2.10 1 *']);
    assert.deepEqual(ways(kernel, packet(VIP6, 80, 'eth0', '2001:db8::7')), ['2001:db8::10 1 *']);
    assert.deepEqual(ways(kernel, packet(VIP4, 81)), ['192.0.2.10 1']);
    assert.deepEqual(ways(kernel, { ...packet(VIP4, 80), protocol: 17 }), ['192.0.2.10 1']);
    await nat.apply(await nat.plan({ ...empty, masqueraded: new Map() }, new Set(['tcp 192.0.2.10:80'])));
    assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['192.0.2.10 1']);
    assert.deepEqual(ways(kernel, packet(VIP6, 80, 'eth0', '2001:db8::7')), ['2001:db8::10 1 *']);
  });

  test('an exception of one family is none for the other', async () => {
    const { kernel } = await programmed({
      ...empty,
      services: mapOf(service(VIP4, 80, ['10.50.1.2']), service(VIP6, 80, ['fd00:50::2'])),
      addresses: [VIP4, VIP6],
      masquerade: { enabled: true, exceptSource: { address: 'fd00:50::', prefix: 16 } },
    });
    assert.deepEqual(ways(kernel, packet(VIP4, 80, 'eth0', '10.50.9.9')), ['10.50.1.2 1 *']);
    assert.deepEqual(ways(kernel, packet(VIP6, 80, 'eth0', '2001:db8::7')), ['fd00:50::2 1 *']);
    assert.deepEqual(ways(kernel, packet(VIP6, 80, 'eth0', 'fd00:99::9')), ['fd00:50::2 1']);
  });

  test('an exception of all sources leaves nobody to masquerade', async () => {
    const { kernel } = await programmed({
      ...empty,
      services: mapOf(service(VIP4, 80, ['10.50.1.2'])),
      addresses: [VIP4],
      masquerade: { enabled: true, exceptSource: { address: '0.0.0.0', prefix: 0 } },
    });
    assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['10.50.1.2 1']);
  });
});

suite('segments', () => {
  const sizes = (kernel: FakeKernel): unknown[] =>
    [...(kernel.nftables.table(NAT_TABLE)?.sets.values() ?? [])]
      .filter(({ spec }) => spec.name.startsWith('segments-'))
      .map(({ spec, elements }) => `${spec.name} ${[...elements.keys()].sort().join(' ')}`)
      .sort();

  test('a set and a rule for each size; a size that nobody has goes whole', async () => {
    const of = (entries: readonly (readonly [string, number])[]): DesiredNat => ({
      ...empty,
      addresses: [VIP4],
      segments: new Map(entries),
    });
    const { kernel, nat } = await programmed(
      of([
        [VIP4, 1360],
        ['192.0.2.11', 1440],
        ['192.0.2.12', 1360],
        [VIP6, 1220],
      ]),
    );
    assert.deepEqual(sizes(kernel), ['segments-1360 192.0.2.10 192.0.2.12', 'segments-1440 192.0.2.11']);
    assert.equal(kernel.nftables.table(NAT_TABLE_6)?.sets.get('segments-1220')?.elements.size, 1);
    assert.equal(kernel.nftables.table(NAT_TABLE)?.chains.get('segments')?.rules.length, 2);
    await nat.apply(await nat.plan(of([[VIP4, 1440]])));
    assert.deepEqual(sizes(kernel), ['segments-1440 192.0.2.10']);
    await nat.apply(await nat.plan(of([])));
    assert.deepEqual([sizes(kernel), kernel.nftables.table(NAT_TABLE)?.chains.has('segments')], [[], false]);
  });
});

suite('counters', () => {
  const counted: DesiredNat = { ...empty, services: mapOf(service(VIP4, 80, ['10.50.1.2'])), addresses: [VIP4] };

  test('off: nothing is counted, and nothing is claimed to be', async () => {
    const { kernel, nat } = await programmed({ ...counted, counters: false });
    assert.equal(kernel.nftables.table(NAT_TABLE)?.sets.get('services')?.spec.counter, false);
    assert.deepEqual([...(await nat.connections())], []);
    assert.equal(natServices(nat.held(), await nat.connections(), undefined, 0)[0]?.traffic, null);
  });

  test('on: none is a number, too', async () => {
    const { nat } = await programmed(counted);
    assert.equal(natServices(nat.held(), await nat.connections(), undefined, 0)[0]?.traffic?.connections, 0);
  });

  test('switched, the table is replaced in one transaction; left alone, nothing is written', async () => {
    const { kernel, nat } = await programmed(counted);
    const before = kernel.nftables.transactionSizes.length;
    await nat.apply(await nat.plan({ ...counted, counters: false }));
    assert.equal(kernel.nftables.transactionSizes.length, before + 1);
    assert.deepEqual(ways(kernel, packet(VIP4, 80)), ['10.50.1.2 1']);
    assert.equal((await nat.plan({ ...counted, counters: false })).empty, true);
    const fresh = new NatDriver(kernel.nftables);
    assert.equal((await fresh.plan({ ...counted, counters: false })).empty, true);
    assert.equal((await fresh.plan(counted)).empty, false);
  });
});

test('one change among 2,000 virtual services costs what it changes', async () => {
  const many = mapOf(
    ...Array.from({ length: 2000 }, (_, at) => service(at % 2 === 0 ? VIP4 : VIP6, 1000 + at, [at % 2 === 0 ? '10.50.1.2' : 'fd00:50::2'])),
  );
  const inside = mapOf(...Array.from({ length: 2000 }, (_, at) => service(VIP4, 10_000 + at, ['10.50.2.2'])));
  const { kernel, nat } = await programmed({ ...empty, services: many, inside, addresses: [VIP4, VIP6] });
  const [six, within] = [service(VIP6, 1001, ['fd00:50::3']), service(VIP4, 10_007, ['10.50.2.2', '10.50.2.3'])];
  kernel.journal.clear();
  const wanted = { ...empty, services: new Map([...many, [six.key, six]]), inside: new Map([...inside, [within.key, within]]) };
  await nat.apply(await nat.plan(wanted, new Set([six.key, within.key])));
  // IPv6: the endpoint out and in, the new pod's hairpin in. Inside: a chain with one rule, a slot, the verdict out and in.
  assert.equal(kernel.writes, 3 + 2 + 1 + 2);
});
