/** When a change of a virtual service concerns its VIP as a whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VipUses } from '../../src/desired/vip-uses.ts';

const at = (forward: 'direct' | 'tunnel' | 'masquerade', rest: object = {}) => ({
  ...({ address: '192.0.2.10', protocol: 'tcp', forward } as const),
  ...rest,
});

test('a virtual service like others of the VIP changes nothing of it; the first and the last of a kind do', () => {
  const uses = new VipUses();
  assert.equal(uses.put('a', at('direct')), true);
  assert.equal(uses.put('b', at('direct')), false);
  assert.equal(uses.put('b', at('direct')), false, 'unchanged');
  assert.equal(uses.put('c', at('tunnel')), true);
  assert.equal(uses.put('d', at('tunnel', { tunnel: { type: 'gue', port: 6080 } })), true, 'another encapsulation');
  assert.equal(uses.put('a', undefined), false, 'b is left');
  assert.equal(uses.put('b', undefined), true);
  assert.equal(uses.put('nobody', undefined), false);
  assert.equal(uses.put('c', at('tunnel', { address: '192.0.2.11' })), true, 'the VIP is another');
});

test('a VIP is placed unless all that it has is masqueraded', () => {
  const uses = new VipUses();
  const placed = () => uses.placed('192.0.2.10');
  assert.equal(placed(), true, 'nothing at all');
  uses.put('a', at('masquerade'));
  assert.equal(placed(), false);
  assert.equal(uses.put('b', at('masquerade', { protocol: 'udp' })), false);
  uses.put('c', at('direct'));
  assert.equal(placed(), true);
  uses.put('c', at('masquerade'));
  assert.equal(placed(), false);
  for (const key of ['a', 'b', 'c']) uses.put(key, undefined);
  assert.equal(placed(), true);
});
