/** Times as people write them: in flags, in the cluster file, in annotations. */

const units: Readonly<Record<string, number>> = { '': 1000, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `90`, `90s`, `1500ms`, `2m`, `1h` in milliseconds; a bare number is seconds. Undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,15})?)(ms|s|m|h|)$/.exec(text.trim());
  if (match === null) return undefined;
  return Number(match[1]) * (units[match[2] ?? ''] ?? Number.NaN);
}
