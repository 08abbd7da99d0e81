/** Whether shares are even, with a stated chance to cry wolf. */

/** Logarithms of k! for k up to n. */
function logFactorials(n: number): number[] {
  const sums = [0];
  for (let k = 1; k <= n; k++) sums.push(sums[k - 1]! + Math.log(k));
  return sums;
}

/**
 * The counts that n independent draws of chance p leave with a probability below `falseAlarm` in all: half of it below
 * `least`, half above `most`. Exact sums of the binomial distribution. A scheduler that takes turns strays less.
 */
export function binomialBounds(n: number, p: number, falseAlarm: number): { readonly least: number; readonly most: number } {
  if (p >= 1) return { least: n, most: n };
  const factorial = logFactorials(n);
  const chance = (k: number): number =>
    Math.exp(factorial[n]! - factorial[k]! - factorial[n - k]! + k * Math.log(p) + (n - k) * Math.log(1 - p));
  let [least, below] = [0, chance(0)];
  while (below <= falseAlarm / 2) below += chance(++least);
  let [most, above] = [n, chance(n)];
  while (above <= falseAlarm / 2) above += chance(--most);
  return { least, most };
}

/** What is uneven about counts by name; undefined when nothing is. Each name of `shares` is to have that share of all. */
export function unevenness(
  counts: Readonly<Record<string, number>>,
  shares: Readonly<Record<string, number>>,
  falseAlarm: number,
): string | undefined {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const strangers = Object.keys(counts).filter((name) => shares[name] === undefined);
  if (strangers.length > 0) return `answers from ${strangers.join(', ')}`;
  const names = Object.entries(shares);
  for (const [name, share] of names) {
    const { least, most } = binomialBounds(total, share, falseAlarm / names.length);
    const count = counts[name] ?? 0;
    if (count < least || count > most) return `${name} answered ${count} of ${total}, not ${least} to ${most}`;
  }
  return undefined;
}
