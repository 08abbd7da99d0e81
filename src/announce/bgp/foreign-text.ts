/** Words of a daemon and of its neighbours, which end in logs, in `status` and on terminals. */

const longest = 512;

/** On one line, without what a terminal would obey, and not longer than anybody reads. */
export function foreignText(text: string): string {
  return text
    .replaceAll(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
    .trim()
    .slice(0, longest);
}
