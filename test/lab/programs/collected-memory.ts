/**
 * What a Node.js process still holds after a full garbage collection: without one, memory follows the collector's rhythm, which
 * with few changes takes a quarter of an hour, and a leak cannot be told from a heap that waits to be collected.
 *   collected-memory.mjs PID EVERY_MS
 * Opens the process's inspector (SIGUSR1, 127.0.0.1:9229 of its namespace), has it load build/lab/malloc.node, and prints a JSON
 * line each time, in MiB:
 *   {"milliseconds":20000,"resident":111.9,"anonymous":57.2,"code":5.4,"data":19.7,"malloc":21.3,"buffers":0.2,"free":3.1,"stacks":0.3,"held":41.3}
 * resident: of the process, pages of the program's own file among it, which come and go with the page cache; anonymous: without
 * those; code: what JavaScript was compiled to, as far as the engine tells; data: its other live objects; malloc: what malloc has
 * given out, of all its heaps, to whatever thread; buffers: the part of it that array buffers have; free: what was given back to
 * malloc and is not the kernel's again; stacks: of threads, as they are resident.
 * held: data, malloc and stacks together. Compiled code is not in it, which grows until everything that runs often has been
 * optimized, and no further; nor are free parts of heaps, whichever kind: how much of a page is free changes all the time.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
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

/** Size of the page below a stack, at most. */
const GUARD = 65_536n;

/** Asked in the process itself, bytes. */
const QUESTION = `(() => {
  const v8 = process.getBuiltinModule('v8');
  const { code_and_metadata_size: compiled, bytecode_and_metadata_size: bytecode } = v8.getHeapCodeStatistics();
  const buffers = process.memoryUsage().arrayBuffers;
  const addon = (globalThis.measured ??= (() => {
    const module = { exports: {} };
    process.dlopen(module, ${JSON.stringify(path.resolve('build/lab/malloc.node'))});
    return module.exports;
  })());
  const text = addon.mallocInfo();
  return JSON.stringify({ used: v8.getHeapStatistics().used_heap_size, code: compiled + bytecode, buffers, text });
})()`;

interface Told {
  readonly used: number;
  readonly code: number;
  readonly buffers: number;
  readonly text: string;
}

/** Bytes, from the sums at the end of malloc_info(3): what it has of the kernel, less what is free in it, and what was mapped on its own. */
function mallocMemory(text: string): { used: number; free: number } {
  const sums = text.slice(text.lastIndexOf('</heap>'));
  const sum = (pattern: string): number => {
    const found = new RegExp(`<${pattern}[^>]* size="(\\d+)"/>`).exec(sums)?.[1];
    if (found === undefined) throw new Error(`malloc_info says nothing of ${pattern}: ${sums}`);
    return Number(found);
  };
  const free = sum('total type="fast"') + sum('total type="rest"');
  return { used: sum('system type="current"') - free + sum('total type="mmap"'), free };
}

/** Resident bytes of stacks; /proc/PID/smaps has one head line for each mapping, then its figures. */
function stackMemory(): number {
  let kibibytes = 0;
  let isStack = false;
  /** Where a mapping that may not be touched ends: the page below a thread's stack is one. */
  let guardEnd: string | undefined;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const [, start, end, permissions, inode, name = ''] = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+) *(.*)$/.exec(line) ?? [];
    if (start !== undefined) {
      isStack = name === '[stack]' || (permissions === 'rw-p' && inode === '0' && name === '' && guardEnd === start);
      guardEnd = permissions === '---p' && BigInt(`0x${end}`) - BigInt(`0x${start}`) <= GUARD ? end : undefined;
    } else if (isStack && line.startsWith('Rss:')) {
      kibibytes += Number(/\d+/.exec(line)?.[0]);
    }
  }
  return kibibytes * 1024;
}

await call('HeapProfiler.enable');
const began = performance.now();
for (;;) {
  await call('HeapProfiler.collectGarbage');
  const { result } = await call('Runtime.evaluate', { expression: QUESTION });
  const { used, code, buffers, text } = JSON.parse(String(result?.value)) as Told;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name: string): number => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  const malloc = mallocMemory(text);
  const stacks = stackMemory();
  const figures = {
    milliseconds: Math.round(performance.now() - began),
    ...{ resident: mebibytes(bytes('VmRSS')), anonymous: mebibytes(bytes('RssAnon')) },
    ...{ code: mebibytes(code), data: mebibytes(used - code) },
    ...{ malloc: mebibytes(malloc.used), buffers: mebibytes(buffers), free: mebibytes(malloc.free), stacks: mebibytes(stacks) },
    held: mebibytes(used - code + malloc.used + stacks),
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  await wait(every);
}
