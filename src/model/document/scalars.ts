/** What an unquoted word means: null, true, false, a number or text (YAML 1.2 core schema, section 10.3.2). */

const integer = /^[-+]?[0-9]+$/;
const octal = /^0o[0-7]+$/;
const hexadecimal = /^0x[0-9a-fA-F]+$/;
const float = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;
const infinity = /^([-+]?)\.(?:inf|Inf|INF)$/;

export type Scalar = string | number | boolean | null;

const words: ReadonlyMap<string, Scalar> = new Map<string, Scalar>([
  ...['', '~', 'null', 'Null', 'NULL'].map((word) => [word, null] as const),
  ...['true', 'True', 'TRUE'].map((word) => [word, true] as const),
  ...['false', 'False', 'FALSE'].map((word) => [word, false] as const),
  ...['.nan', '.NaN', '.NAN'].map((word) => [word, NaN] as const),
]);

/**
 * V8 keeps the whole text alive for as long as any substring of 13 characters or more lives. A
 * configuration lives for months and is reloaded often: its strings must not hold on to old files.
 */
export function detached(text: string): string {
  return text.length < 13 ? text : ` ${text}`.slice(1);
}

export function resolveScalar(text: string): Scalar {
  const first = text.charCodeAt(0);
  // Digits, sign, point: the only ways to begin a number.
  if ((first >= 0x30 && first <= 0x39) || first === 0x2b || first === 0x2d || first === 0x2e) {
    if (integer.test(text) || float.test(text)) return Number(text);
    if (hexadecimal.test(text)) return Number(text);
    if (octal.test(text)) return parseInt(text.slice(2), 8);
    const infinite = infinity.exec(text);
    if (infinite !== null) return infinite[1] === '-' ? -Infinity : Infinity;
  }
  const word = words.get(text);
  return word === undefined ? detached(text) : word;
}
