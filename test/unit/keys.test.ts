import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serviceKey, virtualServiceKey } from '../../src/model/keys.ts';

test('keys read as people write them, with brackets around IPv6', () => {
  assert.equal(virtualServiceKey('tcp', '192.0.2.10', 80), 'tcp 192.0.2.10:80');
  assert.equal(virtualServiceKey('udp', '2001:db8::1', 53), 'udp [2001:db8::1]:53');
  assert.equal(serviceKey('shop', 'api'), 'shop/api');
});
