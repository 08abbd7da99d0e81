/** JSON and YAML: what is read is what was meant, or is refused. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { readGeneral } from '../../src/model/document/general.ts';
import { DocumentError, Outline } from '../../src/model/document/outline.ts';
import { readPlain } from '../../src/model/document/plain.ts';
import { ipv4, name } from './cluster-input.ts';

const plainDocument = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.string(),
    fc.integer(),
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.constant(null),
    tie('list'),
    tie('map'),
  ),
  list: fc.array(tie('value'), { maxLength: 4 }),
  map: fc.dictionary(fc.oneof(name, fc.string({ minLength: 1 }), ipv4, fc.nat(70_000).map(String)), tie('value'), {
    maxKeys: 4,
    noNullPrototype: true,
  }),
})).map;

describe('documents', () => {
  test('JSON is read as JSON.parse reads it', () => {
    fc.assert(
      fc.property(plainDocument, fc.constantFrom(undefined, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        assert.deepEqual(readPlain(text, new Outline()), JSON.parse(text));
      }),
      { numRuns: 2000 },
    );
  });

  test('YAML of the library is read by both readers alike; the plain one may decline, never misread', () => {
    let taken = 0;
    fc.assert(
      fc.property(
        plainDocument,
        fc.constantFrom<'block' | 'flow' | 'any'>('block', 'flow', 'any'),
        fc.boolean(),
        (value, style, indentSeq) => {
          const text = stringify(value, {
            ...{ collectionStyle: style, indentSeq, lineWidth: 0 },
            aliasDuplicateObjects: false,
          });
          let general: unknown;
          try {
            general = readGeneral(text, new Outline());
          } catch (error) {
            // The library writes some empty collections in a way that it cannot read itself.
            assert.ok(error instanceof DocumentError);
            return;
          }
          try {
            assert.deepEqual(readPlain(text, new Outline()), general, text);
            taken++;
          } catch (error) {
            if (!(error instanceof DocumentError)) throw error;
          }
        },
      ),
      { numRuns: 2000 },
    );
    assert.ok(taken > 1000, `only ${taken} of 2000 were taken by the plain reader`);
  });

  test('what the plain reader takes of mutilated YAML, the library takes alike or refuses for form only', () => {
    const piece = fc.constantFrom(
      'a',
      'b: ',
      ': ',
      '- ',
      '\n',
      '\n  ',
      '\n    ',
      ' ',
      '{',
      '}',
      '[',
      ']',
      ',',
      '"',
      "'",
      '#',
      ' # ',
      '1',
      '~',
      'x:y',
      '::1',
      '-',
      '?',
      '\t',
    );
    let structured = 0;
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        const text = pieces.join('');
        let value: unknown;
        try {
          value = readPlain(text, new Outline());
        } catch (error) {
          assert.ok(error instanceof DocumentError);
          return;
        }
        let general: unknown;
        try {
          general = readGeneral(text, new Outline());
        } catch (error) {
          assert.ok(error instanceof DocumentError);
          return;
        }
        assert.deepEqual(value, general, JSON.stringify(text));
        if (typeof value === 'object' && value !== null) structured++;
      }),
      { numRuns: Number(process.env['MUTILATED_RUNS'] ?? 20_000) },
    );
    assert.ok(structured > 100, `only ${structured} maps and lists were compared`);
  });
});
