/** The configurations of docs/bgp.md, as they stand there: what people copy is what the tests run. */
import { readFileSync } from 'node:fs';

/** The first block below a heading of docs/bgp.md. */
export function documented(heading: string): string {
  const text = readFileSync('docs/bgp.md', 'utf8');
  const section = text.split(/^##+ /m).find((each) => each.split('\n', 1)[0]?.trim() === heading);
  const block = /^```[a-z]*\n(.*?)^```$/ms.exec(section ?? '')?.[1];
  if (block === undefined) throw new Error(`docs/bgp.md has no block below the heading ${heading}`);
  return block;
}

/** Addresses of the example: a router and two directors on one segment. */
export const example = {
  router: { 4: '10.20.0.254', 6: '2001:db8:20::254', asn: 64513 },
  directors: [
    { 4: '10.20.0.10', 6: '2001:db8:20::10' },
    { 4: '10.20.0.20', 6: '2001:db8:20::20' },
  ],
  asn: 64512,
  vips: { 4: '198.51.100.0/24', 6: '2001:db8:100::/64' },
} as const;

/** gobgpd's own file for one of the directors; `bfd` with what version 4 can do. */
export function directorFile(which: 0 | 1, bfd = false): string {
  const file = documented('gobgpd beside the agent').replace(example.directors[0][4], example.directors[which][4]);
  if (!bfd) return file;
  const timers = '  [neighbors.timers.config]';
  return file.replaceAll(timers, `${documented("BFD in gobgpd's file")}${timers}`);
}

/** A range for more VIPs than the example has. */
export const WIDE = { 4: '198.18.0.0/16', 6: '2001:db8:100::/64' } as const;

export function routerFile(kind: 'bird' | 'frr', range: string = example.vips[4]): string {
  return documented(kind === 'bird' ? 'BIRD' : 'FRR').replaceAll(example.vips[4], range);
}
