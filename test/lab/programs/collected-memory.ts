/**
 * What a Node.js process still holds after a full garbage collection: without one, memory follows the collector's rhythm, which
 * with few changes takes a quarter of an hour, and a leak cannot be told from a heap that waits to be collected.
 *   collected-memory.mjs PID EVERY_MS
 * Opens the process's inspector (SIGUSR1, 127.0.0.1:9229 of its namespace) and prints a JSON line each time:
 *   {"milliseconds":20000,"resident":104.2,"anonymous":66.1,"heap":23.1,"held":63.0,"malloc":9.1,"arenas":4.2}      MiB
 * resident: of the process, pages of the program's own file among it, which come and go with the page cache; anonymous: without
 * those; heap: live objects of JavaScript; held: anonymous without what is free in the heap's own pages, which are 256 KiB
 * each: how many of them are half empty changes with every collection. malloc and arenas: glibc's main heap and those of other
 * threads, so that a slope can be told to be the native side's.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

const [pid, every] = process.argv.slice(2).map(Number);
if (pid === undefined || every === undefined || !(pid > 1 && every > 0)) throw new Error('usage: collected-memory.mjs PID EVERY_MS');

interface Answer {
  readonly id?: number;
  readonly result?: { readonly usedSize?: number; readonly totalSize?: number };
  readonly error?: { readonly message: string };
}

const attempts = 100;

async function address(): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const targets = (await (await fetch('http://127.0.0.1:9229/json/list')).json()) as { webSocketDebuggerUrl: string }[];
      const [target] = targets;
      if (target !== undefined) return target.webSocketDebuggerUrl;
    } catch (error) {
      if (attempt === attempts) throw error;
    }
    await wait(200);
  }
}

process.kill(pid, 'SIGUSR1');
const socket = new WebSocket(await address());
await new Promise((resolve, reject) => {
  socket.addEventListener('open', resolve);
  socket.addEventListener('error', () => reject(new Error('the inspector refuses')));
});
// Without the process there is nothing to measure.
socket.addEventListener('close', () => process.exit(1));

const pending = new Map<number, (answer: Answer) => void>();
socket.addEventListener('message', ({ data }) => {
  const answer = JSON.parse(String(data)) as Answer;
  if (answer.id !== undefined) pending.get(answer.id)?.(answer);
});

let count = 0;
async function call(method: string): Promise<NonNullable<Answer['result']>> {
  const id = ++count;
  const answer = await new Promise<Answer>((resolve) => {
    pending.set(id, resolve);
    socket.send(JSON.stringify({ id, method }));
  });
  pending.delete(id);
  if (answer.result === undefined) throw new Error(`${method}: ${answer.error?.message ?? 'no answer'}`);
  return answer.result;
}

const mebibytes = (bytes: number): number => Math.round((bytes / 1_048_576) * 100) / 100;

/** A heap of a thread lies at a multiple of this (glibc, HEAP_MAX_SIZE on 64 bit). */
const ARENA_ALIGNMENT = 64n * 1_048_576n;

/** Resident KiB of the mappings that malloc took; /proc/PID/smaps, one head line each, then its figures. */
function allocated(): { malloc: number; arenas: number } {
  const sums = { malloc: 0, arenas: 0 };
  let kind: keyof typeof sums | undefined;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const head = /^([0-9a-f]+)-[0-9a-f]+ (\S+) \S+ \S+ (\d+) *(.*)$/.exec(line);
    if (head !== null) {
      const [, start = '0', permissions, inode, name] = head;
      const aligned = inode === '0' && name === '' && permissions === 'rw-p' && BigInt(`0x${start}`) % ARENA_ALIGNMENT === 0n;
      kind = name === '[heap]' ? 'malloc' : aligned ? 'arenas' : undefined;
    } else if (kind !== undefined && line.startsWith('Rss:')) {
      sums[kind] += Number(/\d+/.exec(line)?.[0]);
    }
  }
  return sums;
}

await call('HeapProfiler.enable');
const began = performance.now();
for (;;) {
  await call('HeapProfiler.collectGarbage');
  const { usedSize = Number.NaN, totalSize = Number.NaN } = await call('Runtime.getHeapUsage');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name: string): number => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  const anonymous = bytes('RssAnon');
  const { malloc, arenas } = allocated();
  const figures = {
    milliseconds: Math.round(performance.now() - began),
    ...{ resident: mebibytes(bytes('VmRSS')), anonymous: mebibytes(anonymous) },
    ...{ heap: mebibytes(usedSize), held: mebibytes(anonymous - (totalSize - usedSize)) },
    ...{ malloc: mebibytes(malloc * 1024), arenas: mebibytes(arenas * 1024) },
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  await wait(every);
}
