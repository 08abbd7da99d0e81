/** The soak's meter: what is held is in its figures, and what was let go of is not, whoever gave the memory out. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

interface Line {
  readonly data: number;
  readonly malloc: number;
  readonly buffers: number;
  readonly held: number;
}

/** Told `keep`, it holds 8 MiB of numbers in JavaScript's heap and 8 MiB in a buffer; told `drop`, neither. Waste all the time. */
const subject = `
  let kept;
  const waste = () => [new Array(50_000).fill(Math.random()), Buffer.alloc(300_000, 1)];
  setInterval(waste, 5);
  process.stdin.setEncoding('utf8').on('data', (word) => {
    kept = word === 'keep' ? [Array.from({ length: 16 }, () => new Array(65_536).fill(0.5)), Buffer.alloc(8 * 1_048_576, 1)] : undefined;
    console.log(word);
  });
  console.log('ready');`;

const running: ChildProcess[] = [];

before(() => execFileSync('scripts/lab-programs'));

after(() => {
  for (const child of running) child.kill('SIGKILL');
});

function start(...words: readonly string[]): { child: ChildProcess; next: () => Promise<string> } {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...words], { stdio: ['pipe', 'pipe', 'ignore'] });
  running.push(child);
  const lines = createInterface({ input: child.stdout });
  const ended = once(lines, 'close').then(() => assert.fail(`${words.join(' ')} ended`));
  ended.catch(() => undefined);
  return { child, next: async () => String((await Promise.race([once(lines, 'line'), ended]))[0]) };
}

test('8 MiB of objects and 8 MiB of a buffer are seen when they are held, and gone when they are not', async () => {
  const { child, next } = start('-e', subject);
  assert.equal(await next(), 'ready');
  const meter = start('test/lab/programs/collected-memory.ts', `${child.pid ?? 0}`, '50');
  // The line that is printed next may have been measured before.
  const measured = async (): Promise<Line> => {
    await meter.next();
    await meter.next();
    return JSON.parse(await meter.next()) as Line;
  };
  const tell = async (word: string): Promise<Line> => {
    child.stdin?.write(word);
    assert.equal(await next(), word);
    return measured();
  };
  const near = (actual: number, expected: number): void => {
    assert.ok(Math.abs(actual - expected) < 1, `${actual} MiB, and ${expected} expected`);
  };
  const empty = await measured();
  const full = await tell('keep');
  near(full.data - empty.data, 8);
  near(full.buffers - empty.buffers, 8);
  near(full.malloc - empty.malloc, 8);
  near(full.held - empty.held, 16);
  const again = await tell('drop');
  near(again.held, empty.held);
});
