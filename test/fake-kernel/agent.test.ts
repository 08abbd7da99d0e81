/** The agent as a whole on the fake kernel: input accepted and refused, the status socket, reload, stop. */
import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { statusSchema } from '../../src/cli/status-schema.ts';
import { SysctlJournal } from '../../src/drivers/journal.ts';
import type { Publication, Problem, Source } from '../../src/model/cluster.ts';
import type { Mode } from '../../src/modes/options.ts';
import { Agent } from '../../src/modes/run.ts';
import type { AgentDocument } from '../../src/observe/agent-document.ts';
import { askAgent } from '../../src/observe/status-server.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { ravelAgent } from '../unit/cli.ts';
import { eventually } from '../unit/waiting.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { cluster, whole } from './cluster.ts';
import type { FakeKernel } from './kernel.ts';
import { collectingLog, defaultOptions, freshKernel, nodeNameOf, holdings, type Line } from './rig.ts';

/** A source that says what the test tells it to. */
class Puppet implements Source {
  runs = 0;
  publish: (publication: Publication) => void = () => assert.fail('not running');
  refuse: (problems: readonly Problem[]) => void = () => assert.fail('not running');
  fail: (error: Error) => void = () => assert.fail('not running');

  run({ signal, onPublication, onRefused }: Parameters<Source['run']>[0]): Promise<void> {
    this.runs += 1;
    this.publish = onPublication;
    this.refuse = onRefused;
    return new Promise((resolve, reject) => {
      this.fail = reject;
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }
}

interface Started {
  readonly agent: Agent;
  readonly source: Puppet;
  readonly socket: string;
  readonly folder: string;
  readonly lines: Line[];
  readonly stop: () => Promise<void>;
}

function start(mode: Mode, kernel: FakeKernel, folder = temporaryDirectory('agent')): Started {
  const source = new Puppet();
  const lines: Line[] = [];
  const agent = new Agent({
    options: { ...defaultOptions, mode, nodeName: nodeNameOf(mode), stateDirectory: folder },
    parts: {
      ...{ kernel: kernel.ports, journal: new SysctlJournal(folder, '1', 'boot'), clock: systemClock },
      ...{ random: Math.random, log: collectingLog(lines) },
    },
    origin: { place: 'a puppet', source: () => source, close: () => {} },
    version: '1.2.3',
  });
  const stop = new AbortController();
  const done = agent.run(stop.signal);
  const ended = async (): Promise<void> => {
    stop.abort();
    await done;
  };
  return { agent, source, socket: join(folder, `${mode}.sock`), folder, lines, stop: ended };
}

const answer = async (socket: string): Promise<AgentDocument | undefined> => (await askAgent(socket)) as AgentDocument | undefined;
const state = cluster({ pods: { web: ['n1', 'n2'] }, vips: [['10.50.0.1', 80, 'web']] });

for (const mode of ['director', 'realserver'] as const) {
  test(`${mode}: refused input changes nothing, is told once in status, and is forgotten with the next good one`, async () => {
    const kernel = freshKernel();
    const { source, socket, lines, stop } = start(mode, kernel);
    const said = (pattern: RegExp): number => lines.filter(({ level, message }) => level !== 'debug' && pattern.test(message)).length;
    await eventually(async () => (await answer(socket)) !== undefined, 'the socket answers');
    await eventually(() => source.runs === 1, 'the source runs');
    source.refuse([{ path: 'config."x"', message: 'is no address' }]);
    assert.equal((await answer(socket))?.source.synced, false);
    assert.equal(kernel.writes, 0);
    source.publish(whole(state));
    await eventually(async () => ((await answer(socket))?.loop.passes ?? 0) >= 1, 'a pass');
    const good = await holdings(kernel);
    source.refuse([{ path: 'config."y"', message: 'is no address either', line: 7 }]);
    const refused = await answer(socket);
    assert.deepEqual(refused?.source.refused?.problems, [{ path: 'config."y"', message: 'is no address either', line: 7 }]);
    assert.notEqual(refused.source.acceptedAt, null);
    assert.deepEqual(await holdings(kernel), good);
    source.publish(whole(state));
    assert.equal((await answer(socket))?.source.refused, null);
    source.publish(whole(state));
    assert.equal(said(/^input refused; nothing is changed until one is accepted$/), 1, 'there was none yet');
    assert.equal(said(/^input refused; the last good configuration stays in force$/), 1);
    assert.equal(said(/^input accepted$/), 2, 'the first, and the end of a refusal; not each change');
    await stop();
    assert.deepEqual(await holdings(kernel), good, 'stopping leaves the data plane');
    assert.equal(await answer(socket), undefined);
  });

  test(`${mode}: status of a running agent has the documented shape, in both forms`, async () => {
    const kernel = freshKernel();
    const { source, folder, stop } = start(mode, kernel);
    await eventually(() => source.runs === 1, 'the source runs');
    source.publish(
      whole(
        cluster({
          pods: { web: ['n1'], none: [] },
          vips: [
            ['10.50.0.1', 80, 'web'],
            ['10.50.0.2', 80, 'none'],
          ],
        }),
      ),
    );
    await eventually(async () => ((await answer(join(folder, `${mode}.sock`)))?.loop.passes ?? 0) >= 1, 'a pass');
    const args = ['status', '--sample=0', `--state-dir=${folder}`];
    const { out, code, err } = await ravelAgent([...args, '-o', 'json'], { kernel });
    assert.equal(code, 0, err);
    const document = statusSchema.parse(JSON.parse(out));
    assert.equal(document.mode, mode, 'the mode of the agent that answers');
    assert.equal(document.agent?.version, '1.2.3');
    const [first, second] = document.vips;
    assert.equal(first?.placed, true);
    assert.equal(first.announced, mode === 'director' ? true : null);
    assert.equal(first.services[0]?.destinations.length, 1);
    assert.equal(second?.services[0]?.programmed, false);
    assert.equal(second.services[0].reason?.code, 'NoEndpoints');
    const text = (await ravelAgent(args, { kernel })).out;
    assert.match(text, /10\.50\.0\.2[^]*tcp 10\.50\.0\.2:80 +not programmed +NoEndpoints/);
    if (mode === 'director') {
      assert.match(document.agent.warnings.join(), /expire_nodest_conn/, 'this kernel does not have it');
      assert.match(text, /warning .*expire_nodest_conn/);
    }
    assert.equal((await ravelAgent(['cleanup', `--state-dir=${folder}`], { kernel })).code, 1, 'not while it runs');
    assert.equal((await ravelAgent(['cleanup', '--dry-run', `--state-dir=${folder}`], { kernel })).code, 0);
    await stop();
  });
}

test('the socket is for root only, answers nothing else, and survives an agent that was killed', async () => {
  const kernel = freshKernel();
  const { socket, folder, stop } = start('director', kernel);
  await eventually(async () => (await answer(socket)) !== undefined, 'the socket answers');
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  await assert.rejects(start('director', freshKernel(), folder).stop(), /another agent answers here \(process \d+\); stop it first/);
  assert.notEqual(await answer(socket), undefined, 'the first is not disturbed');
  await stop();
  writeFileSync(socket, '');
  const next = start('director', kernel, folder);
  await eventually(async () => (await answer(socket)) !== undefined, 'a dead file is in nobody’s way');
  await next.stop();
});

test('a source that fails is started again, and a reload reads it from its beginning', async () => {
  const { agent, source, lines, stop } = start('director', freshKernel());
  await eventually(() => source.runs === 1, 'the source runs');
  source.fail(new Error('the disk is on fire'));
  await eventually(() => source.runs === 2, 'the source runs again');
  assert.ok(lines.some(({ level, fields }) => level === 'error' && fields['error'] === 'the disk is on fire'));
  agent.reload();
  await eventually(() => source.runs === 3, 'the source was reloaded');
  await stop();
});

test('a folder that cannot be made costs the socket, not the balancing', async () => {
  const kernel = freshKernel();
  const file = join(temporaryDirectory('agent'), 'file');
  writeFileSync(file, '');
  const { source, lines, stop } = start('director', kernel, join(file, 'below'));
  await eventually(() => source.runs === 1, 'the source runs');
  source.publish(whole(state));
  await eventually(() => kernel.ipvs.services().length === 1, 'programmed');
  assert.ok(lines.some(({ level, message }) => level === 'warn' && message === 'no status socket'));
  await stop();
});
