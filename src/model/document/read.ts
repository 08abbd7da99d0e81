/** From the bytes of a file to plain values, within bounds of time and memory whatever the bytes are. */
import type { Path } from '../problems.ts';
import { generalLimit, readGeneral } from './general.ts';
import { DocumentError, Outline } from './outline.ts';
import { readPlain, type PlainValue } from './plain.ts';

/** What text cannot hold: control characters, and a carriage return that ends no line. */
const control = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)/;

/** @throws DocumentError when the bytes are no UTF-8 text */
export function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new DocumentError('not UTF-8 text', 0);
  }
}

/**
 * Plain reading first; a small text that it does not take is read again with the general library, whose
 * word is then final.
 * @throws DocumentError at the first place that is wrong
 */
export function readDocument(text: string, outline = new Outline()): { value: PlainValue; outline: Outline } {
  const found = control.exec(text);
  if (found !== null) throw new DocumentError('not a text: a control character', found.index);
  try {
    return { value: readPlain(text, outline), outline };
  } catch (error) {
    if (!(error instanceof DocumentError) || text.length > generalLimit) throw error;
  }
  const second = new Outline(outline.wanted);
  return { value: readGeneral(text, second), outline: second };
}

/** Offsets of the keys or items at these paths, by the text of the path. The text must have been read before. */
export function locate(text: string, paths: readonly Path[]): ReadonlyMap<string, number> {
  return readDocument(text, new Outline(paths)).outline.offsets;
}
