/**
 * Random lives of the nat tables of legacy iptables: targets follow each other, wholly or key by key, agents die, others
 * write between. Whatever came before, a pass ends where the target says, and nothing of others is lost.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DesiredNat, DesiredNatService } from '../../src/desired/types.ts';
import { IptablesNat } from '../../src/drivers/nat-iptables.ts';
import { virtualServiceKey } from '../../src/model/keys.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';

const VIPS = ['192.0.2.10', '192.0.2.11', '2001:db8::10'];
const PODS = { 4: ['10.50.1.2', '10.50.1.3', '10.50.1.4'], 6: ['fd00::2', 'fd00::3'] } as const;

const service: fc.Arbitrary<DesiredNatService> = fc.constantFrom(...VIPS).chain((address) =>
  fc
    .record({
      port: fc.constantFrom(53, 80),
      protocol: fc.constantFrom('tcp' as const, 'udp' as const),
      comment: fc.constantFrom('shop/api:http', 'dns/resolver:dns', ''),
      pods: fc.uniqueArray(
        fc.record({ address: fc.constantFrom(...PODS[address.includes(':') ? 6 : 4]), port: fc.constantFrom(8080, 8081) }),
        { minLength: 1, maxLength: 4, selector: ({ address: pod, port }) => `${pod} ${port}` },
      ),
      more: fc.option(fc.integer({ min: 1, max: 300 }), { nil: undefined }),
    })
    .map(({ port, protocol, comment, pods, more }) => ({
      ...{ key: virtualServiceKey(protocol, address, port), address, port, protocol: protocol === 'tcp' ? 6 : 17, comment },
      pods: pods.map(({ address: pod, port: at }) => ({ address: pod, port: at })),
      ...(more === undefined ? {} : { slots: pods.length + more }),
    })),
);

const target: fc.Arbitrary<DesiredNat> = fc
  .record({
    services: fc.uniqueArray(service, { maxLength: 7, selector: ({ key }) => key }),
    masquerade: fc.constantFrom(
      { enabled: false },
      { enabled: true },
      { enabled: true, exceptSource: { address: '10.50.0.0', prefix: 16 } },
    ),
  })
  .map(({ services, masquerade }) => ({ services: new Map(services.map((each) => [each.key, each])), addresses: VIPS, masquerade }));

const step = fc.record({
  target,
  restart: fc.boolean(),
  byKey: fc.boolean(),
  meddling: fc.constantFrom('none', 'flush', 'stale', 'jump', 'foreign'),
});

function meddle(kernel: FakeKernel, kind: string): void {
  const { ip } = kernel.iptables;
  if (kind === 'flush' && ip.chains.has('RAVEL')) ip.chains.set('RAVEL', []);
  if (kind === 'stale') ip.append('RAVEL-SVC-OLD', '-j RETURN');
  if (kind === 'jump') ip.append('PREROUTING', '-p tcp -j RAVEL');
  if (kind === 'foreign') ip.append('KUBE-SERVICES', `-j RETURN -m comment --comment ${ip.chains.get('KUBE-SERVICES')?.length ?? 0}`);
}

const foreignOf = (kernel: FakeKernel): string[] =>
  Object.entries(kernel.iptables.ip.dump()).flatMap(([name, rules]) =>
    name.startsWith('RAVEL') ? [] : rules.filter((text) => !/-j RAVEL(?:-\S+)?$/.test(text)).map((text) => `${name} ${text}`),
  );

async function freshDump(wanted: DesiredNat): Promise<Record<string, unknown>> {
  const kernel = new FakeKernel();
  const nat = new IptablesNat({ tables: kernel.iptables, chainPrefix: 'RAVEL' });
  await nat.apply(await nat.plan(wanted));
  return ours(kernel);
}

const ours = (kernel: FakeKernel): Record<string, unknown> =>
  Object.fromEntries(
    (['ip', 'ip6'] as const).flatMap((family) =>
      Object.entries(kernel.iptables[family].dump()).flatMap(([name, rules]) =>
        name.startsWith('RAVEL')
          ? [[`${family} ${name}`, rules]]
          : [[`${family} ${name}`, rules.filter((text) => text.includes('-j RAVEL'))]],
      ),
    ),
  );

test('every history ends as its last target says, reads back as it, and loses nothing of others', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      const kernel = new FakeKernel();
      let nat = new IptablesNat({ tables: kernel.iptables, chainPrefix: 'RAVEL' });
      let last: DesiredNat | undefined;
      for (const { target: wanted, restart, byKey, meddling } of steps) {
        meddle(kernel, meddling);
        const foreign = foreignOf(kernel);
        if (restart) nat = new IptablesNat({ tables: kernel.iptables, chainPrefix: 'RAVEL' });
        const whole = !byKey || last === undefined || JSON.stringify(last.masquerade) !== JSON.stringify(wanted.masquerade);
        if (whole) nat.forget();
        const keys = whole ? undefined : new Set([...wanted.services.keys(), ...(last?.services.keys() ?? [])]);
        const plan = await nat.plan(wanted, keys);
        const named = new Map(plan.services.map(({ key, change }) => [key, change]));
        for (const [key, change] of named) assert.equal(wanted.services.has(key), change !== 'remove', `${change} ${key}`);
        assert.deepEqual((await nat.apply(plan)).failures, []);
        assert.deepEqual(foreignOf(kernel), foreign);
        last = wanted;
        const sorted = (services: Iterable<DesiredNatService>) => [...services].sort((a, b) => (a.key < b.key ? -1 : 1));
        assert.deepEqual(sorted(nat.held()), sorted(wanted.services.values()));
        // Whoever meddled while only keys were looked at is found by the next whole look.
        if (!whole) continue;
        const again = new IptablesNat({ tables: kernel.iptables, chainPrefix: 'RAVEL' });
        await again.observe();
        assert.deepEqual(sorted(again.held()), sorted(wanted.services.values()));
      }
      nat.forget();
      await nat.apply(await nat.plan(last!));
      assert.deepEqual(ours(kernel), {
        ...Object.fromEntries(Object.keys(ours(kernel)).map((name) => [name, []])),
        ...(await freshDump(last!)),
      });
      kernel.journal.clear();
      const second = new IptablesNat({ tables: kernel.iptables, chainPrefix: 'RAVEL' });
      assert.ok((await second.plan(last!)).empty);
      await second.apply(await second.removal());
      assert.ok(Object.keys(ours(kernel)).every((name) => !name.includes('RAVEL')));
    }),
    { numRuns: 150 },
  );
});
