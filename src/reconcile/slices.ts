import { setImmediate as pause } from 'node:timers/promises';

const itemsPerLook = 64;
const longestMilliseconds = 8;

/** Runs `work` over many items, letting timers and sockets have their turn every few milliseconds. */
export async function eachSliced<Item>(items: Iterable<Item>, work: (item: Item) => void): Promise<void> {
  let started = performance.now();
  let count = 0;
  for (const item of items) {
    work(item);
    count += 1;
    if (count % itemsPerLook !== 0 || performance.now() - started < longestMilliseconds) continue;
    await pause();
    started = performance.now();
  }
}
