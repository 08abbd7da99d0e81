import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressKind, compareAddresses, parsePrefix, prefixContains, sortAddresses } from '../../src/model/address.ts';

test('prefixes are canonical and lose their host bits', () => {
  for (const [text, address, prefix] of [
    ['10.0.0.0/8', '10.0.0.0', 8],
    ['10.1.2.3/8', '10.0.0.0', 8],
    ['10.1.2.3/32', '10.1.2.3', 32],
    ['10.1.2.3/0', '0.0.0.0', 0],
    ['192.0.2.255/25', '192.0.2.128', 25],
    ['2001:DB8:0:0::1/64', '2001:db8::', 64],
    ['2001:db8::ffff/127', '2001:db8::fffe', 127],
    ['::/0', '::', 0],
  ] as const) {
    assert.deepEqual(parsePrefix(text), { address, prefix }, text);
  }
});

test('what is no prefix is refused', () => {
  for (const text of [
    '',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0/8',
    '::/129',
    '::/ 1',
    '/8',
  ]) {
    assert.equal(parsePrefix(text), undefined, text);
  }
});

test('a prefix contains addresses of its own family only', () => {
  const prefix = parsePrefix('10.1.0.0/16')!;
  assert.equal(prefixContains(prefix, '10.1.255.255'), true);
  assert.equal(prefixContains(prefix, '10.2.0.0'), false);
  assert.equal(prefixContains(prefix, '::a01:0'), false);
  assert.equal(prefixContains(parsePrefix('::/0')!, '10.1.0.1'), false);
  assert.equal(prefixContains(parsePrefix('2001:db8::/33')!, '2001:db8:7fff::1'), true);
  assert.equal(prefixContains(parsePrefix('2001:db8::/33')!, '2001:db8:8000::1'), false);
});

test('addresses sort by number, IPv4 first, each once', () => {
  assert.deepEqual(sortAddresses(['2001:db8::10', '10.0.0.10', '10.0.0.9', '2001:db8::9', '9.255.0.0', '10.0.0.9']), [
    '9.255.0.0',
    '10.0.0.9',
    '10.0.0.10',
    '2001:db8::9',
    '2001:db8::10',
  ]);
  assert.equal(compareAddresses('10.0.0.1', '10.0.0.1'), 0);
  assert.ok(compareAddresses('255.0.0.0', '::') < 0);
});

test('kinds of addresses', () => {
  for (const [address, kind] of [
    ['10.0.0.1', 'unicast'],
    ['169.254.1.1', 'unicast'],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'unspecified'],
    ['127.0.0.53', 'loopback'],
    ['128.0.0.1', 'unicast'],
    ['223.255.255.255', 'unicast'],
    ['224.0.0.1', 'multicast'],
    ['239.255.255.255', 'multicast'],
    ['240.0.0.1', 'unicast'],
    ['255.255.255.255', 'broadcast'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::2', 'unicast'],
    ['ff02::1', 'multicast'],
    ['fe80::1', 'link-local'],
    ['febf::1', 'link-local'],
    ['fec0::1', 'unicast'],
    ['::ffff:1.2.3.4', 'mapped'],
    ['2001:db8::1', 'unicast'],
  ] as const) {
    assert.equal(addressKind(address), kind, address);
  }
});
