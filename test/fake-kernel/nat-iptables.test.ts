/** The iptables backend and the choice between backends, on tables in memory. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { DesiredNat, DesiredNatService } from '../../src/desired/types.ts';
import { NatChoice, type NatBackendAsked } from '../../src/drivers/nat-choice.ts';
import type { NatBackend } from '../../src/drivers/nat-backend.ts';
import { IptablesNat } from '../../src/drivers/nat-iptables.ts';
import { virtualServiceKey } from '../../src/model/keys.ts';
import { FakeKernel } from './kernel.ts';

function service(address: string, pods: readonly string[], slots?: number, comment = 'shop/api:http'): DesiredNatService {
  return {
    ...{ key: virtualServiceKey('tcp', address, 80), address, protocol: 6, port: 80, comment },
    ...{ pods: pods.map((pod) => ({ address: pod, port: 8080 })), ...(slots === undefined ? {} : { slots }) },
  };
}

function desired(services: readonly DesiredNatService[], rest: Partial<DesiredNat> = {}): DesiredNat {
  return {
    ...{ services: new Map(services.map((each) => [each.key, each])), masquerade: { enabled: false } },
    ...{ addresses: [...new Set(services.map(({ address }) => address))], ...rest },
  };
}

const four = service('192.0.2.10', ['10.50.1.2', '10.50.1.3']);
const other = service('192.0.2.11', ['10.50.1.4'], undefined, 'shop/web:http');
const six = service('2001:db8::10', ['fd00::2']);

const backend = (kernel: FakeKernel): IptablesNat => new IptablesNat({ tables: kernel.iptables, chainPrefix: 'RAVEL' });

async function pass(nat: NatBackend, wanted: DesiredNat, keys?: ReadonlySet<string>) {
  await nat.observe();
  return nat.apply(await nat.plan(wanted, keys));
}

suite('the iptables backend', () => {
  test('writes what is asked for, nothing the second time, and a restart reads it back', async () => {
    const kernel = new FakeKernel();
    const wanted = desired([four, other, six]);
    const { written, failures } = await pass(backend(kernel), wanted);
    assert.ok(written > 0);
    assert.deepEqual(failures, []);
    kernel.journal.clear();
    const again = backend(kernel);
    await again.observe();
    assert.deepEqual([...again.held()], [four, other, six]);
    assert.equal(again.size, 3);
    const plan = await again.plan(wanted);
    assert.ok(plan.empty);
    assert.deepEqual([plan.services, plan.changes()], [[], []]);
    assert.deepEqual(await again.apply(plan), { written: 0, failures: [] });
    assert.equal(kernel.writes, 0);
  });

  test('a key is planned for what it costs: unchanged ones write nothing, a changed one writes its family alone', async () => {
    const kernel = new FakeKernel();
    const nat = backend(kernel);
    await pass(nat, desired([four, other, six]));
    kernel.journal.clear();
    assert.ok((await nat.plan(desired([four, other, six]), new Set([four.key, six.key]))).empty);
    assert.equal(kernel.journal.reads, 0, 'what is known is not read again');
    const more = service('192.0.2.10', ['10.50.1.2', '10.50.1.3', '10.50.1.9']);
    const plan = await nat.plan(desired([more, other, six]), new Set([four.key]));
    assert.deepEqual(plan.services, [{ key: four.key, change: 'change' }]);
    assert.ok(plan.changes().some(({ op, vip }) => op === 'changeService' && vip === '192.0.2.10'));
    await nat.apply(plan);
    assert.deepEqual(
      kernel.journal.calls.map(({ op, subject }) => [op, subject]),
      [['iptables.commit', 'ip']],
    );
    assert.deepEqual(nat.heldAt(four.key), more);
    const gone = await nat.plan(desired([other, six]), new Set([four.key]));
    assert.deepEqual(gone.services, [{ key: four.key, change: 'remove' }]);
    await nat.apply(gone);
    assert.equal(nat.programmed(four.key), false);
    assert.equal(nat.programmed(other.key), true);
  });

  test('the table of IPv6 is looked into only where it is there, and made only where something is wanted', async () => {
    const kernel = new FakeKernel();
    await pass(backend(kernel), desired([four]));
    assert.deepEqual([...kernel.iptables.opened], ['ip']);
    assert.equal(kernel.iptables.ip6.present, false);
    await pass(backend(kernel), desired([four, six]));
    assert.equal(kernel.iptables.ip6.present, true);
    await pass(backend(kernel), desired([four]));
    assert.deepEqual(kernel.iptables.ip6.dump(), { INPUT: [], OUTPUT: [], POSTROUTING: [], PREROUTING: [] });
  });

  test('a virtual service shared with IPVS is taken with pods/shares, and read back with its shares', async () => {
    const kernel = new FakeKernel();
    const shared = service('192.0.2.10', ['10.50.1.2', '10.50.1.3', '10.50.1.4'], 4);
    await pass(backend(kernel), desired([shared], { masquerade: { enabled: true } }));
    const again = backend(kernel);
    await again.observe();
    assert.deepEqual([...again.held()], [shared]);
    assert.ok((await again.plan(desired([shared], { masquerade: { enabled: true } }))).empty);
    assert.equal((await again.plan(desired([{ ...shared, slots: 5 }]), new Set([shared.key]))).services.length, 1);
  });

  test('counters survive a change of other services, and are the connections', async () => {
    const kernel = new FakeKernel();
    const nat = backend(kernel);
    await pass(nat, desired([four, other]));
    for (const rule of kernel.iptables.ip.chains.get('RAVEL') ?? []) rule.packets = rule.text.includes('192.0.2.10') ? 7 : 3;
    await pass(nat, desired([four]), new Set([other.key]));
    assert.deepEqual([...(await nat.connections())], [[four.key, 7]]);
  });

  test('what others did to our chains is found by reading, and only then', async () => {
    const kernel = new FakeKernel();
    const nat = backend(kernel);
    const wanted = desired([four, other]);
    await pass(nat, wanted);
    const before = kernel.iptables.dump();
    kernel.iptables.ip.chains.set('RAVEL', []);
    kernel.iptables.ip.append('RAVEL-SVC-OLD', '-j RETURN');
    kernel.iptables.ip.append('PREROUTING', '-d 192.0.2.1/32 -j RAVEL');
    assert.ok((await nat.plan(wanted)).empty, 'nobody told');
    nat.forget();
    const plan = await nat.plan(wanted);
    assert.deepEqual(
      plan.services.map(({ change }) => change),
      ['add', 'add'],
    );
    await nat.apply(plan);
    assert.deepEqual(kernel.iptables.dump(), before);
  });

  test('IPv6 fails and is named; IPv4 goes on', async () => {
    const kernel = new FakeKernel();
    kernel.faults.failNext({ op: 'iptables.commit', code: 'EPERM', subject: 'ip6' });
    const nat = backend(kernel);
    const { failures } = await pass(nat, desired([four, six]));
    assert.deepEqual(
      failures.map(({ op, code, family }) => [op, code, family]),
      [['iptables.commit', 'EPERM', 6]],
    );
    assert.match(failures[0]?.message ?? '', /ip6tables/);
    assert.deepEqual([nat.programmed(four.key), nat.programmed(six.key), nat.known], [true, false, false]);
    assert.deepEqual((await pass(nat, desired([four, six]))).failures, []);
    assert.equal(nat.programmed(six.key), true);
  });

  test('a table of IPv6 that cannot be read concerns IPv6 alone', async () => {
    const kernel = new FakeKernel();
    await pass(backend(kernel), desired([four, six]));
    kernel.faults.failNext({ op: 'iptables.list', code: 'EPERM', subject: 'ip6', times: Infinity });
    const nat = backend(kernel);
    const { failures } = await pass(nat, desired([six]));
    assert.deepEqual(
      failures.map(({ op, family }) => [op, family]),
      [['iptables.list', 6]],
    );
    assert.equal(nat.programmed(four.key), false, 'IPv4 was emptied');
    assert.ok(nat.known);
  });

  test('IPv4 that is refused rejects, and is unknown afterwards', async () => {
    const kernel = new FakeKernel();
    const nat = backend(kernel);
    kernel.faults.failNext({ op: 'iptables.commit', code: 'ENOMEM', subject: 'ip' });
    await assert.rejects(pass(nat, desired([four])), /ENOMEM/);
    assert.equal(nat.known, false);
  });

  test('removal leaves the tables of others as they were, and opens none that is not there', async () => {
    const kernel = new FakeKernel();
    kernel.iptables.ip.append('KUBE-SERVICES', '-j RETURN');
    kernel.iptables.ip.append('PREROUTING', '-j KUBE-SERVICES');
    kernel.iptables.ip.append('RAVELIN', '-j RETURN');
    for (const chain of ['INPUT', 'OUTPUT', 'POSTROUTING']) kernel.iptables.ip.append(chain);
    const before = kernel.iptables.dump();
    const nat = backend(kernel);
    await pass(nat, desired([four], { masqueraded: new Map([[other.key, other]]) }));
    assert.notDeepEqual(kernel.iptables.dump(), before);
    await nat.apply(await nat.removal());
    assert.deepEqual(kernel.iptables.dump(), before);
    assert.deepEqual([...kernel.iptables.opened], ['ip']);
    const fresh = new FakeKernel();
    assert.ok((await backend(fresh).removal()).empty);
    assert.equal(fresh.iptables.opened.size, 0);
  });

  test('what IPVS masquerades is marked after what is translated, and a change of it alone is written', async () => {
    const kernel = new FakeKernel();
    const nat = backend(kernel);
    await pass(nat, desired([four], { addresses: ['192.0.2.10', '192.0.2.11'] }));
    kernel.journal.clear();
    const marked = desired([four], { addresses: ['192.0.2.10', '192.0.2.11'], masqueraded: new Map([[other.key, other]]) });
    await nat.apply(await nat.plan(marked, new Set([other.key])));
    assert.deepEqual(
      kernel.iptables.ip.dump()['RAVEL']?.map((text) => text.replace(/^.*-d (\S+) .*-j (\S+)/, '$1 $2')),
      ['192.0.2.10/32 RAVEL-SVC-RUKNB3TURLFC6SGL', '192.0.2.11/32 MARK --set-xmark 0x4000/0x4000'],
    );
    assert.ok((await nat.plan(marked, new Set([other.key, four.key]))).empty);
    nat.forget();
    assert.ok((await nat.plan(marked)).empty);
    assert.deepEqual([...nat.held()], [four], 'a mark is no translation');
  });
});

suite('the choice of a backend', () => {
  const choice = (kernel: FakeKernel, asked: NatBackendAsked): NatChoice => new NatChoice(kernel, { asked, chainPrefix: 'RAVEL' });
  const hasRules = (kernel: FakeKernel) => ({
    nftables: kernel.nftables.table({ family: 'ip', name: 'ravel' }) !== undefined,
    iptables: [...kernel.iptables.ip.chains.keys()].some((name) => name.startsWith('RAVEL')),
  });

  test('auto is nftables where the kernel has it; legacy tables are then not even opened', async () => {
    const kernel = new FakeKernel();
    const nat = choice(kernel, 'auto');
    await pass(nat, desired([four]));
    assert.deepEqual(nat.chosen, { kind: 'nftables', reason: 'this kernel has nf_tables' });
    assert.deepEqual(hasRules(kernel), { nftables: true, iptables: false });
    assert.equal(kernel.iptables.opened.size, 0);
  });

  test('auto is iptables where there is no nftables, and says so', async () => {
    const kernel = new FakeKernel();
    kernel.withoutModule('nftables');
    const nat = choice(kernel, 'auto');
    await pass(nat, desired([four]));
    assert.equal(nat.kind, 'iptables');
    assert.match(nat.chosen?.reason ?? '', /^no nftables here \(nftables\.generation: not supported by this kernel/);
    assert.deepEqual(nat.warnings, []);
    assert.equal(hasRules(kernel).iptables, true);
  });

  test('neither: refused with both reasons, and tried again with the next pass', async () => {
    const kernel = new FakeKernel();
    kernel.withoutModule('nftables');
    kernel.withoutModule('iptables');
    const nat = choice(kernel, 'auto');
    await assert.rejects(nat.observe(), /nftables .* and legacy iptables .*not supported by this kernel/);
    assert.equal(nat.known, false);
    kernel.faults.heal();
    await nat.observe();
    assert.equal(nat.kind, 'nftables');
  });

  test('the one asked for is not replaced by the other', async () => {
    const kernel = new FakeKernel();
    kernel.withoutModule('iptables');
    await assert.rejects(choice(kernel, 'iptables').observe(), { name: 'UnsupportedError' });
    assert.equal(kernel.writes, 0);
  });

  for (const [from, to] of [
    ['nftables', 'iptables'],
    ['iptables', 'nftables'],
  ] as const) {
    test(`from ${from} to ${to}: the new rules are written before the old ones go, in one pass; then nothing`, async () => {
      const kernel = new FakeKernel();
      await pass(choice(kernel, from), desired([four, other]));
      kernel.journal.clear();
      const nat = choice(kernel, to);
      const { failures } = await pass(nat, desired([four, other]));
      assert.deepEqual(failures, []);
      assert.deepEqual(hasRules(kernel), { nftables: to === 'nftables', iptables: to === 'iptables' });
      const order = kernel.journal.calls.map(({ op }) => op.split('.')[0]);
      assert.deepEqual([order[0], order.at(-1)], [to, from]);
      kernel.journal.clear();
      nat.forget();
      assert.deepEqual(await pass(nat, desired([four, other])), { written: 0, failures: [] });
      assert.equal(kernel.writes, 0);
    });

    test(`from ${from} to ${to}: while the new rules are refused the old ones stay`, async () => {
      const kernel = new FakeKernel();
      await pass(choice(kernel, from), desired([four]));
      kernel.faults.failNext({ op: `${to}.commit`, code: 'EPERM' });
      const nat = choice(kernel, to);
      await assert.rejects(pass(nat, desired([four])), /EPERM/);
      assert.equal(hasRules(kernel)[from], true);
      await pass(nat, desired([four]));
      assert.deepEqual(hasRules(kernel), { nftables: to === 'nftables', iptables: to === 'iptables' });
    });

    test(`from ${from} to ${to}: a removal of the old rules that fails is told, and done with the next full pass`, async () => {
      const kernel = new FakeKernel();
      await pass(choice(kernel, from), desired([four]));
      const nat = choice(kernel, to);
      await nat.observe();
      const plan = await nat.plan(desired([four]));
      assert.ok(
        plan.changes().some(({ kind }) => kind === from),
        'seen in the plan',
      );
      kernel.faults.failNext({ op: `${from}.commit`, code: 'EPERM' });
      const { failures } = await nat.apply(plan);
      assert.deepEqual(
        failures.map(({ op, code }) => [op.split('.')[0], code]),
        [[from, 'EPERM']],
      );
      assert.deepEqual(hasRules(kernel), { nftables: true, iptables: true });
      nat.forget();
      assert.deepEqual((await pass(nat, desired([four]))).failures, []);
      assert.equal(hasRules(kernel)[from], false);
    });

    test(`from ${from} to ${to}: a virtual service that only the old rules know counts as one that is removed`, async () => {
      const kernel = new FakeKernel();
      await pass(choice(kernel, from), desired([four, other]));
      const nat = choice(kernel, to);
      const plan = await nat.plan(desired([four]));
      assert.deepEqual(plan.services, [
        { key: four.key, change: 'add' },
        { key: other.key, change: 'remove' },
      ]);
      assert.equal(nat.size, 2);
      assert.deepEqual(nat.heldAt(other.key), other);
      assert.deepEqual([...nat.held()].length, 2);
    });
  }

  test('legacy tables of others that this build cannot read are a warning, not a failure', async () => {
    const kernel = new FakeKernel();
    kernel.iptables.ip.append('PREROUTING', '-j DOCKER');
    kernel.faults.failNext({ op: 'iptables.list', code: 'UNSUPPORTED', times: Infinity });
    const nat = choice(kernel, 'auto');
    assert.deepEqual((await pass(nat, desired([four]))).failures, []);
    assert.match(nat.warnings.join(), /rules that the iptables backend may have left cannot be looked for/);
  });

  test('legacy tables that cannot be read for another reason are a failure, and ours are written all the same', async () => {
    const kernel = new FakeKernel();
    kernel.iptables.ip.append('PREROUTING', '-j DOCKER');
    kernel.faults.failNext({ op: 'iptables.list', code: 'EACCES', times: 1 });
    const nat = choice(kernel, 'auto');
    const { failures } = await pass(nat, desired([four]));
    assert.deepEqual(
      failures.map(({ op, code }) => [op, code]),
      [['iptables.list', 'EACCES']],
    );
    assert.ok(nat.programmed(four.key));
    nat.forget();
    assert.deepEqual((await pass(nat, desired([four]))).failures, []);
  });
});
