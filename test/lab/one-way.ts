/** What became of a one-way stream while its receivers changed. */
import type { Arrivals } from './traffic.ts';

export interface Turn {
  readonly title: string;
  /** Clock of the stamps of the datagrams, milliseconds: when it was told. */
  readonly at: number;
  /** Who may receive from now on. */
  readonly pods: readonly string[];
}

export interface Delivery {
  readonly title: string;
  readonly sent: number;
  /** Datagrams that reached a pod which may not, and nobody though somebody may. */
  readonly misdelivered: number;
  readonly lost: number;
  /** How long after the turn the last of either was sent, milliseconds. 0: none was. */
  readonly lastedMs: number;
}

/** A datagram sent so shortly before the next turn may have met that. */
const UNDER_WAY_MS = 20;

export function judge(turns: readonly Turn[], sentAt: readonly number[], received: ReadonlyMap<string, Arrivals>): Delivery[] {
  const owners: (string | undefined)[] = [];
  for (const [pod, { ranges }] of received) {
    for (const [first, last] of ranges) for (let number = first; number <= last; number++) owners[number] = pod;
  }
  return turns.map(({ title, at, pods }, index) => {
    const end = (turns[index + 1]?.at ?? Infinity) - UNDER_WAY_MS;
    let [sent, misdelivered, lost, lastedMs] = [0, 0, 0, 0];
    sentAt.forEach((time, number) => {
      if (time <= at || time >= end) return;
      sent++;
      const owner = owners[number];
      if (owner === undefined ? pods.length === 0 : pods.includes(owner)) return;
      if (owner === undefined) lost++;
      else misdelivered++;
      lastedMs = Math.max(lastedMs, time - at);
    });
    return { title, sent, misdelivered, lost, lastedMs };
  });
}
