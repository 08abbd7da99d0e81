/** What makes a listed table one that has to be built anew. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diffNat } from '../../src/diff/nat.ts';
import { NAT_LAYOUTS } from '../../src/diff/nat-layout.ts';
import { natState } from '../../src/diff/nat-state.ts';
import type { TableState } from '../../src/native/nftables-types.ts';

const hook = { type: 'nat', hook: 'prerouting', priority: -101 } as const;
const listed = (fields: Partial<TableState>): TableState => ({
  ...{ dormant: false, rules: [], sets: [], chains: [{ name: 'prerouting', handle: 1n, hook }] },
  ...fields,
});
const onlyVip = { services: new Map(), addresses: ['192.0.2.10'], masquerade: { enabled: false } };

test('a dormant table and a chain that drops by policy are built anew; as we make them they stay', () => {
  assert.deepEqual(natState(NAT_LAYOUTS[4], listed({}), new Map()).incompatible, []);
  for (const fields of [{ dormant: true }, { chains: [{ name: 'prerouting', handle: 1n, hook, policy: 'drop' as const }] }]) {
    const state = natState(NAT_LAYOUTS[4], listed(fields), new Map());
    assert.equal(state.incompatible.length, 1);
    const operations = diffNat(state, onlyVip).transactions.flat();
    assert.equal(operations[0]?.op, 'deleteTable', 'in the same transaction as what follows');
    assert.ok(operations.some(({ op }) => op === 'createChain'));
  }
});
