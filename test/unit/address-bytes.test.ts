import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressFamily, canonicalAddress, formatAddressBytes, parseAddressBytes, writeAddress } from '../../src/native/address-bytes.ts';
import { addressBytes } from './ipvs-arbitraries.ts';

const canonical: readonly (readonly [text: string, canonical: string])[] = [
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
  ['192.0.2.10', '192.0.2.10'],
  ['::', '::'],
  ['::1', '::1'],
  ['1::', '1::'],
  ['2001:DB8::A', '2001:db8::a'],
  ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
  // RFC 5952 section 4.2.2: one zero group is not shortened.
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  // Section 4.2.3: the longest run, and the first of equals.
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
  ['::FFFF:c000:201', '::ffff:192.0.2.1'],
  ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ['1:2:3:4:5:6:77.88.99.1', '1:2:3:4:5:6:4d58:6301'],
];

for (const [text, expected] of canonical) {
  test(`canonicalAddress ${text}`, () => {
    assert.equal(canonicalAddress(text), expected);
  });
}

const refused = [
  '',
  ' 192.0.2.1',
  '192.0.2.1 ',
  '192.0.2',
  '192.0.2.',
  '192.0.2.1.',
  '192.0.2.1.1',
  '.192.0.2.1',
  '192..2.1',
  '192.0.2.256',
  '192.0.2.01',
  '192.0.02.1',
  '00.0.0.0',
  '192.0.2.0x1',
  '192.0.2.-1',
  '192.0.2.1/32',
  '3221225985',
  'localhost',
  ':',
  ':::',
  ':1',
  '1:',
  '1::2::3',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7:8::',
  '::1:2:3:4:5:6:7:8',
  '1:2:3:4::5:6:7:8',
  '12345::',
  'g::',
  'fe80::1%eth0',
  '[::1]',
  '::1/128',
  '::192.0.2',
  '::192.0.2.1.',
  '::192.0.2.1:1',
  '1:2:3:4:5:6:7:192.0.2.1',
  '1:2:3:4:5:192.0.2.1',
  '::01.2.3.4',
  '1:2:3:4:5:6:7:',
];

for (const text of refused) {
  test(`refused: ${JSON.stringify(text)}`, () => {
    assert.equal(parseAddressBytes(text), undefined);
    assert.equal(canonicalAddress(text), undefined);
    assert.equal(addressFamily(text), undefined);
  });
}

test('bytes -> text -> bytes, and the text is accepted by the platform', () => {
  fc.assert(
    fc.property(addressBytes, (bytes) => {
      const family = bytes.length === 4 ? 4 : 6;
      const text = formatAddressBytes(bytes, family);
      assert.deepEqual(parseAddressBytes(text), bytes);
      assert.equal(isIP(text), family);
      assert.equal(canonicalAddress(text), text);
    }),
    { numRuns: 5000 },
  );
});

test('accepts exactly what the platform accepts, less zones', () => {
  const piece = fc.constantFrom(
    ':',
    '::',
    '.',
    '0',
    '1',
    '9',
    '25',
    '255',
    '256',
    '01',
    'f',
    'ffff',
    'fffff',
    'g',
    '192.0.2.1',
    '%',
    '/',
    ' ',
    '-',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 18 }), (pieces) => {
      const text = pieces.join('');
      const family = text.includes('%') ? 0 : isIP(text);
      assert.equal(addressFamily(text) ?? 0, family, text);
    }),
    { numRuns: 20000 },
  );
});

test('writeAddress leaves the bytes around its place alone', () => {
  const out = new Uint8Array(48).fill(0xaa);
  assert.equal(writeAddress('192.0.2.1', out, 16), 4);
  assert.deepEqual([...out.subarray(0, 16), ...out.subarray(20)], new Array<number>(44).fill(0xaa));
  out.fill(0xaa);
  assert.equal(writeAddress('2001:db8::1', out, 16), 6);
  assert.deepEqual([...out.subarray(0, 16), ...out.subarray(32)], new Array<number>(32).fill(0xaa));
});
