import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { generalLimit, readGeneral } from '../../src/model/document/general.ts';
import { DocumentError, lineAt, Outline } from '../../src/model/document/outline.ts';
import { readPlain } from '../../src/model/document/plain.ts';
import { decodeText, locate, readDocument } from '../../src/model/document/read.ts';

const plain = (text: string): unknown => readPlain(text, new Outline());

/** What both readers take must mean the same to both. */
const common: readonly string[] = [
  '',
  '# nothing\n\n',
  '---\na: 1\n',
  '{}',
  '[]',
  '{"a":1,"b":[true,false,null,"x"],"c":{"d":-1.5e3}}',
  '\ufeff{"a": 1}',
  '{\n  "a": "b\\n\\u00e9\\"",\n  "c": {}\n}\n',
  'a: b',
  'a: b # comment\n# more\nc: "d # e"\n',
  'a:\n  b: 1\n  c:\n    - 1\n    - x: 2\n      y: 3\n    -\n      z: 4\n  d:\n',
  'a:\n- 1\n- 2\nb: 3\n',
  '- - 1\n  - 2\n- - 3\n',
  '- a: 1\n\n- b: 2\n',
  "a: 'it''s'\nb: \"tab\\t\"\n'c d': e f g\n",
  'a: {b: c, d: [1, 2, {e: f}], }\n',
  'a: {\n  b: c,\n  d: e\n}\nf: [\n  1, # one\n  2\n]\n',
  '2001:db8::1:\n  80: {service: x}\n::1: y\n',
  '{address: 2001:db8::1, port: 80}',
  'a: http://example/x\nb: 12:30\nc: x#y\ne: -x\n',
  'n: ~\nt: True\nf: FALSE\ni: 0x1F\no: 0o17\nz: 010\ne: 1e3\np: .5\nq: +7\nr: .inf\ns: -.INF\nyes: no\n',
  'a: null\nb: Null\nc: nullx\nd: 1.2.3\ne: 1_000\nf: 0x\ng: 1e\nh: .\ni: --1\n',
  'a: b\r\nc:\r\n  - d\r\n',
  '"quoted key": 1\n',
  'a:\n  - {b: 1}\n  - [c]\n',
  'a:    b\nc:\td\n',
];

test('the plain reader takes the everyday part of YAML as the library does', () => {
  for (const text of common) {
    const expected: unknown = parse(text);
    assert.deepEqual(plain(text), expected, JSON.stringify(text));
    assert.deepEqual(readGeneral(text, new Outline()), expected, JSON.stringify(text));
  }
});

test('what the plain reader does not take is refused at its place, not misread', () => {
  for (const [text, message, line] of [
    ['a: &x b', /an anchor/, 1],
    ['a: b\nc: *x', /an alias/, 2],
    ['a: !!str 1', /a tag/, 1],
    ['a: |\n  text', /a block of text/, 1],
    ['a: "x\n  y"', /not closed on its line/, 1],
    ['a: b\n  c', /indented|more is written/, 2],
    ['a: b\n c: d', /indented deeper/, 2],
    ['a:\n  b: 1\n c: 2', /indented deeper/, 3],
    ['a: b: c', /more is written on this line/, 1],
    ['\ta: b', /a tab/, 1],
    ['a:\n\tb: c', /a tab/, 2],
    ['a: [1, 2', /expected|too early/, 1],
    ['a: {b: 1]', /expected "," or "}"/, 1],
    ['{"a" 1}', /expected ":"/, 1],
    ['a: ]', /unexpected/, 1],
    ['a: 1\nb', /expected "key: value"/, 2],
    ['- a\nb: c', /more is written here/, 2],
    ['a: 1\n- b', /a list item among the keys/, 2],
    ['a: 1\n---\nb: 2', /one document/, 2],
    ['a: - b', /a line of its own/, 1],
    ['"a": "b"c', /more is written/, 1],
    ['a: "\\x41"', /escape/, 1],
    ['a: [\n1]', /not indented/, 2],
    ['? a\n: b', /unexpected/, 1],
  ] as const) {
    assert.throws(
      () => plain(text),
      (error) => {
        assert.ok(error instanceof DocumentError, text);
        assert.match(error.message, message, text);
        assert.equal(lineAt(text, error.offset), line, text);
        return true;
      },
    );
  }
});

test('small texts have all of YAML', () => {
  const text = 'x: &o {scheduler: mh}\na: *o\nb: |\n  two\n  lines\nc: "one\n  two"\n? d\n: e\n80: f\n010: g\n';
  assert.deepEqual(readDocument(text).value, {
    x: { scheduler: 'mh' },
    a: { scheduler: 'mh' },
    b: 'two\nlines\n',
    c: 'one two',
    d: 'e',
    '80': 'f',
    // A key is what is written, not the number that YAML sees in it.
    '010': 'g',
  });
  assert.throws(() => readDocument(`${text}${'#'.padEnd(generalLimit)}\n`), DocumentError);
});

test('aliases that stand for too much, for themselves or for nothing are refused', () => {
  const bomb = [
    'a: &a [1,1,1,1,1,1,1,1,1,1]',
    ...'bcdefgh'.split('').map(
      (key, index) =>
        `${key}: &${key} [${Array(10)
          .fill(`*${'abcdefg'.charAt(index)}`)
          .join(',')}]`,
    ),
  ];
  assert.throws(() => readDocument(bomb.join('\n')), /aliases stand for more than 10000 values/);
  assert.throws(() => readDocument('a: &a [*a]'), DocumentError);
  assert.throws(() => readDocument('a: *nobody'), DocumentError);
});

test('keys written twice are found by both readers, and the first one counts', () => {
  for (const text of ['a:\n  b: 1\n  b: 2\n', '{"a": {"b": 1,\n\n"b": 2}}', 'a: &x\n  b: 1\n  b: 2\n']) {
    const { value, outline } = readDocument(text);
    assert.deepEqual(value, { a: { b: 1 } });
    assert.deepEqual(
      outline.duplicates.map(({ path, offset }) => [path, lineAt(text, offset)]),
      [[['a', 'b'], 3]],
      text,
    );
  }
});

test('a key named __proto__ is a key', () => {
  const value = readDocument('{"__proto__": {"polluted": true}, "a": 1}').value as Record<string, unknown>;
  assert.deepEqual(Object.keys(value), ['__proto__', 'a']);
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
  assert.equal(Object.getPrototypeOf(value), Object.prototype);
});

test('places are found by path in both styles', () => {
  const text = 'a:\n  - b: 1\n    "10.0.0.1": {c: 2,\n      d: 3}\n';
  const offsets = locate(text, [['a'], ['a', 0, '10.0.0.1', 'd'], ['a', 1], ['a', 0]]);
  assert.deepEqual(
    [...offsets].map(([path, offset]) => [path, lineAt(text, offset)]),
    [
      ['a', 1],
      ['a[0]', 2],
      ['a[0]."10.0.0.1".d', 4],
    ],
  );
});

test('bytes that are no text', () => {
  assert.throws(() => decodeText(Uint8Array.of(0x61, 0xff)), /not UTF-8/);
  assert.equal(decodeText(Buffer.from('ä')), 'ä');
  assert.throws(() => readDocument('a: \u0000'), /control character/);
  assert.throws(() => readDocument('a: b\rc: d'), /control character/);
});

test('depth and breadth are bounded', () => {
  assert.throws(() => readDocument('['.repeat(100)), DocumentError);
  assert.throws(() => readDocument('- '.repeat(50_000)), DocumentError);
  assert.throws(() => readDocument(`[${'1,'.repeat(131_073)}]`), /more than 131072 entries/);
  assert.equal((readDocument(`[${'1,'.repeat(131_072 - 1)}1]`).value as unknown[]).length, 131_072);
});
