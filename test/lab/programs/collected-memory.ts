/**
 * What a Node.js process still holds after a full garbage collection: without one, memory follows the collector's rhythm, which
 * with few changes takes a quarter of an hour, and a leak cannot be told from a heap that waits to be collected.
 *   collected-memory.mjs PID EVERY_MS
 * Opens the process's inspector (SIGUSR1, 127.0.0.1:9229 of its namespace) and prints a JSON line each time, in MiB:
 *   {"milliseconds":20000,"resident":111.9,"anonymous":57.2,"code":5.4,"data":19.7,"buffers":0.2,"malloc":11,"arenas":15.4,"stacks":0.3,"held":46.6}
 * resident: of the process, pages of the program's own file among it, which come and go with the page cache; anonymous: without
 * those; code: what JavaScript was compiled to, as far as the engine tells; data: its other live objects; buffers: memory of array
 * buffers; malloc, arenas: glibc's main heap and those of other threads; stacks: of threads. held: the last five together. Compiled code is
 * not in it, which grows until everything that runs often has been optimized, and no further; nor are free parts of the pages of
 * JavaScript's heap: how many of those are half empty changes with every collection.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

const [pid, every] = process.argv.slice(2).map(Number);
if (pid === undefined || every === undefined || !(pid > 1 && every > 0)) throw new Error('usage: collected-memory.mjs PID EVERY_MS');

interface Answer {
  readonly id?: number;
  readonly result?: { readonly result?: { readonly value?: unknown } };
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
async function call(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<NonNullable<Answer['result']>> {
  const id = ++count;
  const answer = await new Promise<Answer>((resolve) => {
    pending.set(id, resolve);
    socket.send(JSON.stringify({ id, method, params }));
  });
  pending.delete(id);
  if (answer.result === undefined) throw new Error(`${method}: ${answer.error?.message ?? 'no answer'}`);
  return answer.result;
}

const mebibytes = (bytes: number): number => Math.round((bytes / 1_048_576) * 100) / 100;

/** A heap of a thread lies at a multiple of this (glibc, HEAP_MAX_SIZE on 64 bit). */
const ARENA_ALIGNMENT = 64n * 1_048_576n;
/** Size of the page below a stack, at most; below an arena there is what it may grow into. */
const GUARD = 65_536n;

/** Asked in the process itself, bytes. */
const QUESTION = `(() => {
  const v8 = process.getBuiltinModule('v8');
  const { code_and_metadata_size: compiled, bytecode_and_metadata_size: bytecode } = v8.getHeapCodeStatistics();
  const buffers = process.memoryUsage().arrayBuffers;
  return JSON.stringify({ used: v8.getHeapStatistics().used_heap_size, code: compiled + bytecode, buffers });
})()`;

const nativeKinds = ['malloc', 'arenas', 'stacks'] as const;

/** Resident KiB of the mappings that no collector gives back; /proc/PID/smaps, one head line each, then its figures. */
function nativeMemory(): Record<(typeof nativeKinds)[number], number> {
  const sums = { malloc: 0, arenas: 0, stacks: 0 };
  let kind: keyof typeof sums | undefined;
  /** Where a mapping that may not be touched ends: the page below a thread's stack is one. */
  let guardEnd: string | undefined;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const [, start, end, permissions, inode, name = ''] = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+) *(.*)$/.exec(line) ?? [];
    if (start !== undefined) {
      const nameless = permissions === 'rw-p' && inode === '0' && name === '';
      if (name === '[heap]') kind = 'malloc';
      else if (name === '[stack]' || (nameless && guardEnd === start)) kind = 'stacks';
      else kind = nameless && BigInt(`0x${start}`) % ARENA_ALIGNMENT === 0n ? 'arenas' : undefined;
      guardEnd = permissions === '---p' && BigInt(`0x${end}`) - BigInt(`0x${start}`) <= GUARD ? end : undefined;
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
  const { result } = await call('Runtime.evaluate', { expression: QUESTION });
  const { used, code, buffers } = JSON.parse(String(result?.value)) as Record<'used' | 'code' | 'buffers', number>;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name: string): number => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  const native = nativeMemory();
  const held = used - code + buffers + 1024 * nativeKinds.reduce((sum, kind) => sum + native[kind], 0);
  const figures = {
    milliseconds: Math.round(performance.now() - began),
    ...{ resident: mebibytes(bytes('VmRSS')), anonymous: mebibytes(bytes('RssAnon')) },
    ...{ code: mebibytes(code), data: mebibytes(used - code), buffers: mebibytes(buffers) },
    ...Object.fromEntries(nativeKinds.map((kind) => [kind, mebibytes(native[kind] * 1024)])),
    held: mebibytes(held),
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  await wait(every);
}
