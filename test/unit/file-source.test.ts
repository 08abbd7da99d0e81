import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, test } from 'node:test';
import type { Problem, Publication } from '../../src/model/cluster.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { FileSource, type FileSourceOptions } from '../../src/sources/file.ts';
import { FakeClock } from '../fake-kernel/fake-clock.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { clusterInput } from './model-input.ts';

let folder = '';
beforeEach(() => {
  folder = temporaryDirectory('source');
});

/** Waits for a condition that real file events bring about; fails after ten seconds. */
async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `not within ten seconds: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

class Follow {
  readonly publications: Publication[] = [];
  readonly refusals: (readonly Problem[])[] = [];
  readonly #stop = new AbortController();
  readonly ended: Promise<void>;

  constructor(options: Partial<FileSourceOptions> = {}) {
    const source = new FileSource({ file: file(), clock: systemClock, debounceMilliseconds: 5, pollMilliseconds: 3_600_000, ...options });
    this.ended = source.run({
      signal: this.#stop.signal,
      onPublication: (publication) => this.publications.push(publication),
      onRefused: (problems) => this.refusals.push(problems),
    });
  }

  get last(): Publication | undefined {
    return this.publications.at(-1);
  }

  published(count: number): Promise<void> {
    return until(`${count} publications`, () => this.publications.length >= count);
  }

  refused(count: number): Promise<void> {
    return until(`${count} refusals`, () => this.refusals.length >= count);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.ended;
  }
}

const file = (name = 'cluster.yaml'): string => path.join(folder, name);
const content = (services = 2): string => {
  const input = clusterInput();
  const more = Array.from({ length: services - 2 }, (_, index) => ({ name: `more${index}` }));
  return JSON.stringify({ ...input, services: [...(input['services'] as object[]), ...more] });
};

/** As editors and configuration managers write. */
function replace(text: string, target = file()): void {
  writeFileSync(`${target}.new`, text);
  renameSync(`${target}.new`, target);
}

test('publishes the file, then what differs after it is replaced by renaming', async () => {
  replace(content());
  const follow = new Follow();
  await follow.published(1);
  assert.deepEqual(follow.last?.change, { all: true });
  replace(content().replace('10.50.1.2', '10.50.1.3'));
  await follow.published(2);
  assert.deepEqual(follow.last.change, { all: false, virtualServices: new Set(['tcp 192.0.2.10:80', 'tcp [2001:db8::10]:80']) });
  assert.equal(follow.last.state.nodes, follow.publications[0]?.state.nodes);
  assert.deepEqual(follow.refusals, []);
  await follow.stop();
});

test('sees writes in place; half a file is refused, the whole of it accepted', async () => {
  writeFileSync(file(), content());
  const follow = new Follow();
  await follow.published(1);
  writeFileSync(file(), content(3).slice(0, 100));
  await follow.refused(1);
  assert.equal(follow.publications.length, 1);
  writeFileSync(file(), content(3));
  await follow.published(2);
  assert.equal(follow.last?.state.services.size, 3);
  await follow.stop();
});

test('an emptied file is refused', async () => {
  writeFileSync(file(), content());
  const follow = new Follow();
  await follow.published(1);
  truncateSync(file());
  await follow.refused(1);
  assert.equal(follow.refusals[0]?.[0]?.message, 'there is nothing in it');
  assert.equal(follow.publications.length, 1);
  await follow.stop();
});

test('a mounted ConfigMap: the folder behind a symbolic link is swapped', async () => {
  const version = (name: string, text: string): void => {
    mkdirSync(file(name));
    writeFileSync(path.join(file(name), 'cluster.yaml'), text);
    symlinkSync(name, file('..data.new'));
    renameSync(file('..data.new'), file('..data'));
  };
  version('..1', content());
  symlinkSync('..data/cluster.yaml', file());
  const follow = new Follow();
  await follow.published(1);
  version('..2', content(4));
  await follow.published(2);
  assert.equal(follow.last?.state.services.size, 4);
  await follow.stop();
});

test('a file that vanishes is told once, nothing is published, and it recovers', async () => {
  writeFileSync(file(), content());
  const follow = new Follow();
  await follow.published(1);
  unlinkSync(file());
  await follow.refused(1);
  assert.deepEqual(follow.refusals[0], [{ path: '', message: `${file()}: no such file` }]);
  // More events while it is away.
  writeFileSync(file('other'), '');
  unlinkSync(file('other'));
  replace(content());
  // The very same content: published all the same, because it ends the refusal.
  await follow.published(2);
  assert.equal(follow.refusals.length, 1);
  assert.deepEqual(follow.last?.change, { all: false, virtualServices: new Set() });
  assert.equal(follow.last.state, follow.publications[0]?.state);
  await follow.stop();
});

test('a file that is not there at the start is told, and found when it comes', async () => {
  const follow = new Follow();
  await follow.refused(1);
  replace(content());
  await follow.published(1);
  await follow.stop();
});

test('other files of the folder, and a touch, publish nothing', async () => {
  writeFileSync(file(), content());
  const follow = new Follow();
  await follow.published(1);
  writeFileSync(file('other'), 'x');
  replace(content());
  replace(content(3));
  await follow.published(2);
  assert.equal(follow.publications.length, 2);
  assert.equal(follow.last?.state.services.size, 3);
  await follow.stop();
});

test('the same refusal is told once, another one again', async () => {
  writeFileSync(file(), 'config: [');
  const follow = new Follow();
  await follow.refused(1);
  replace('config: [');
  replace('config: 1');
  await follow.refused(2);
  assert.deepEqual(
    follow.refusals.map((problems) => problems[0]?.path),
    ['', 'config'],
  );
  await follow.stop();
});

test('what is too long, no file, or a pipe is refused and does not block', async () => {
  for (const make of [() => writeFileSync(file(), content()), () => mkdirSync(file()), () => execFileSync('mkfifo', [file()])]) {
    rmSync(file(), { recursive: true, force: true });
    make();
    const follow = new Follow({ limitBytes: 100 });
    await follow.refused(1);
    assert.match(follow.refusals[0]?.[0]?.message ?? '', /bytes are more than the limit of 100|not a regular file/);
    await follow.stop();
  }
});

test('changes that bring no event are found by looking: a link into another folder', async () => {
  const elsewhere = temporaryDirectory('elsewhere');
  writeFileSync(path.join(elsewhere, 'real'), content());
  symlinkSync(path.join(elsewhere, 'real'), file());
  const clock = new FakeClock();
  const follow = new Follow({ clock, pollMilliseconds: 5000 });
  await follow.published(1);
  replace(content(5), path.join(elsewhere, 'real'));
  await clock.advance(4999);
  assert.equal(follow.publications.length, 1);
  await clock.advance(1);
  await follow.published(2);
  assert.equal(follow.last?.state.services.size, 5);
  await follow.stop();
});

test('a folder that is removed and made anew is watched again', async () => {
  const inner = path.join(folder, 'inner');
  const target = path.join(inner, 'cluster.yaml');
  mkdirSync(inner);
  writeFileSync(target, content());
  const clock = new FakeClock();
  const follow = new Follow({ file: target, clock, pollMilliseconds: 5000 });
  await follow.published(1);
  rmSync(inner, { recursive: true });
  await clock.advance(5000);
  await follow.refused(1);
  mkdirSync(inner);
  writeFileSync(target, content(3));
  await clock.advance(5000);
  await follow.published(2);
  // From here on by events: time only moves as far as the debounce needs.
  replace(content(4), target);
  await until('an event', () => clock.timers > 1);
  await clock.advance(50);
  await follow.published(3);
  assert.equal(follow.last?.state.services.size, 4);
  await follow.stop();
});

test('a busy folder does not put reading off for ever', async () => {
  writeFileSync(file(), content());
  const clock = new FakeClock();
  const follow = new Follow({ clock, debounceMilliseconds: 50 });
  await follow.published(1);
  replace(content(3));
  for (let round = 0; round < 40 && follow.publications.length < 2; round++) {
    const timers = clock.timers;
    writeFileSync(file('noise'), String(round));
    await until('an event', () => clock.timers >= Math.min(timers, 2));
    await clock.advance(25);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await follow.published(2);
  await follow.stop();
});

test('the end: the promise resolves, nothing is left behind', async () => {
  writeFileSync(file(), content());
  const clock = new FakeClock();
  const follow = new Follow({ clock });
  await follow.published(1);
  await follow.stop();
  assert.equal(clock.timers, 0);
  replace(content(3));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(follow.publications.length, 1);
  const stop = AbortSignal.abort();
  await new FileSource({ file: file(), clock }).run({
    signal: stop,
    onPublication: () => assert.fail(),
    onRefused: () => assert.fail(),
  });
});

test('stopping from within the first publication is heard', async () => {
  writeFileSync(file(), content());
  const stop = new AbortController();
  let count = 0;
  await new FileSource({ file: file(), clock: systemClock }).run({
    signal: stop.signal,
    onPublication: () => {
      count++;
      stop.abort();
    },
    onRefused: () => assert.fail(),
  });
  assert.equal(count, 1);
});

test('an error in the callback ends the run with that error', async () => {
  writeFileSync(file(), content());
  const run = new FileSource({ file: file(), clock: systemClock }).run({
    signal: new AbortController().signal,
    onPublication: () => {
      throw new Error('downstream');
    },
    onRefused: () => assert.fail(),
  });
  await assert.rejects(run, /downstream/);
});

test('checking a large file leaves the event loop its turns', async () => {
  const services = Array.from({ length: 20_000 }, (_, index) => ({ name: `s${index}`, endpoints: [{ address: '10.1.0.1', port: 1 }] }));
  writeFileSync(file(), JSON.stringify({ services, config: {} }));
  let pauses = 0;
  const follow = new Follow({
    pause: () => {
      pauses++;
      return Promise.resolve();
    },
  });
  await follow.published(1);
  assert.ok(pauses > 0);
  await follow.stop();
});

test('coercions and warnings come with the state that they belong to', async () => {
  const text = content().replace('"scheduler":"rr"', '"scheduler":"xyz"');
  assert.notEqual(text, content());
  writeFileSync(file(), text);
  const follow = new Follow();
  await follow.published(1);
  assert.deepEqual(
    follow.last?.warnings.map(({ path: where }) => where),
    ['config."192.0.2.11"."53".ipvsOptions.scheduler'],
  );
  await follow.stop();
});
