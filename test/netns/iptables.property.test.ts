/** Whatever we commit over whatever was there: it is what we listed, and what is not ours is as it was. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diffIptables } from '../../src/diff/iptables.ts';
import { iptablesRuleText } from '../../src/diff/iptables-text.ts';
import type { IptablesChain, IptablesProgram, IptablesRule } from '../../src/native/iptables-types.ts';
import { Iptables } from '../../src/native/iptables.ts';
import { Netns } from '../../src/native/netns.ts';
import { unsupported } from './iptables-available.ts';
import { chainOf, load, saved } from './iptables-support.ts';

const NAMES = ['RAVEL', 'RAVEL-A', 'RAVEL-B', 'RAVEL-C'];

const mark = fc.record({ value: fc.nat(0xffff), mask: fc.constantFrom(0x4000, 0xffffffff) });
const prefix = fc
  .record({ host: fc.nat(255), length: fc.constantFrom(24, 32), inverted: fc.boolean() })
  .map(({ host, length, inverted }) => {
    const address = length === 32 ? `192.0.2.${host}` : `10.${host}.0.0`;
    return { address, length, ...(inverted && { inverted }) };
  });

/** Jumps go from a chain to a later one only, or the kernel finds a circle. */
const target = (chains: readonly string[]): fc.Arbitrary<IptablesRule['target']> =>
  fc.oneof(
    ...(chains.length === 0 ? [] : [fc.constantFrom(...chains).map((chain) => ({ kind: 'jump', chain }) as const)]),
    mark.map((value) => ({ kind: 'setMark', ...value }) as const),
    fc.record({
      kind: fc.constant('dnat' as const),
      address: fc.constantFrom('10.50.1.2', '10.50.1.3'),
      port: fc.integer({ min: 1, max: 65535 }),
    }),
  );

const ruleOf = (chains: readonly string[]): fc.Arbitrary<IptablesRule> =>
  fc
    .record(
      {
        source: prefix,
        destination: prefix,
        port: fc.nat(65535),
        mark,
        comment: fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme-ascii' }),
        probability: fc.integer({ min: 1, max: 2 ** 31 }).map((bits) => bits / 2 ** 31),
        opening: fc.constant(true),
      },
      { requiredKeys: [] },
    )
    // Flags are matched together with a port.
    .map(({ opening, ...rule }) => (opening === true && rule.port !== undefined ? { ...rule, opening } : rule))
    .chain((rule) => target(chains).map((chosen) => ({ ...rule, protocol: 6, target: chosen })));

const program: fc.Arbitrary<IptablesProgram> = fc.subarray(NAMES).chain((names) =>
  fc
    .tuple(
      ...names.map((name, index): fc.Arbitrary<IptablesChain> => {
        const rules = fc.array(ruleOf(names.slice(index + 1)), { maxLength: 8 });
        return rules.map((all) => ({ name, rules: all }));
      }),
    )
    .chain((chains) =>
      fc.boolean().map((jump) => ({
        chains,
        // DNAT is for PREROUTING.
        jumps: jump && chains[0] !== undefined ? [{ from: 'PREROUTING' as const, to: chains[0].name }] : [],
      })),
    ),
);

const OTHERS = `*nat
:PREROUTING ACCEPT [1:60]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [2:120]
:POSTROUTING ACCEPT [0:0]
:OTHER - [0:0]
:RAVELIN - [0:0]
[3:180] -A PREROUTING -p tcp -m multiport --dports 1,2 -j OTHER
[4:240] -A PREROUTING -j RAVELIN
[5:300] -A OTHER -m statistic --mode nth --every 3 --packet 1 -j RETURN
[6:360] -A OTHER -j MARK --set-xmark 0x8000/0x8000
COMMIT
`;

test('programs one after another over rules of others', { skip: unsupported, timeout: 300_000 }, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  load(netns, OTHERS);
  await fc.assert(
    fc.asyncProperty(fc.array(program, { minLength: 1, maxLength: 4 }), async (programs) => {
      for (const wanted of programs) {
        await iptables.commit(wanted);
        const listing = await iptables.list();
        assert.deepEqual(diffIptables(listing, wanted, 'RAVEL'), { chains: [], jumps: [], services: [] });
        const table = saved(netns);
        for (const { name, rules } of wanted.chains) assert.deepEqual(chainOf(table, name), rules.map(iptablesRuleText));
        assert.equal((await iptables.commit(wanted)).changed, false);
      }
      await iptables.remove();
      assert.equal(saved(netns), OTHERS);
    }),
    { numRuns: 40 },
  );
});
