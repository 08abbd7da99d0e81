/** Several programs at one table: nobody loses a rule, and who waits, waits within bounds. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Iptables } from '../../src/native/iptables.ts';
import { Netns } from '../../src/native/netns.ts';
import { unsupported } from './iptables-available.ts';
import { contend, missing } from './iptables-contention.ts';
import { answer, chainOf, ended, natService, programOf, saved, start } from './iptables-support.ts';
import { inside } from './nftables-support.ts';
import { until } from './tools.ts';

const options = { skip: unsupported };
const LOCK = '/run/xtables.lock';

/** All writers together; `RAVEL_IPTABLES_COMMITS=10000` for the long run. */
const COMMITS = Number(process.env['RAVEL_IPTABLES_COMMITS'] ?? 1000);

const service = () => [natService('192.0.2.10', 80, 'shop/api:http', ['10.50.1.2'])];

test(`8 writers, ${COMMITS} commits: no rule is lost`, { ...options, timeout: 15 * 60_000 }, async () => {
  await using netns = await Netns.create();
  const { commits, lost, problems } = await contend(netns, COMMITS);
  assert.deepEqual(lost, []);
  assert.deepEqual(problems, []);
  assert.ok(commits >= COMMITS);
  // That a rule which is gone would be missed.
  inside(netns, ['iptables-legacy', '-w', '-t', 'nat', '-D', 'OTHER-A', '1']);
  const wanted = ['-d 10.0.0.0/32 -j RETURN', '-d 10.0.0.1/32 -j RETURN'];
  assert.deepEqual(missing(wanted, chainOf(saved(netns), 'OTHER-A')), wanted.slice(0, 1));
});

test('counters of others miss no packet that comes while we commit', { ...options, timeout: 120_000 }, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns });
  // Connections are tracked, and nat rules asked, only where some rule needs it.
  inside(netns, 'iptables-legacy -w -t nat -A OUTPUT -d 203.0.113.1 -p tcp -j DNAT --to-destination 127.0.0.1'.split(' '));
  inside(netns, 'iptables-legacy -w -t nat -A OUTPUT -p udp -m udp --dport 9 -j RETURN'.split(' '));
  const sender = start(netns, 'send', ['2000']);
  const state = { running: true };
  const sent = answer(sender).finally(() => (state.running = false));
  let commits = 0;
  while (state.running) {
    const outcome = await iptables.commit(programOf(commits++ % 2 === 0 ? service() : []));
    assert.equal(outcome.changed, true);
  }
  assert.deepEqual(await sent, { sent: 2000 });
  assert.ok(commits > 10, String(commits));
  assert.match(saved(netns), /^\[2000:58000\] -A OUTPUT -p udp -m udp --dport 9 -j RETURN$/m);
});

test('a lock that another process holds bounds the wait; the error names the holder', options, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns, lockTimeoutMs: 200 });
  const holder = spawn('flock', [LOCK, '-c', 'echo held; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  const began = performance.now();
  await assert.rejects(iptables.commit(programOf(service())), (error: Error) => {
    assert.equal(error.name, 'TimeoutError');
    assert.match(error.message, /^iptables\.lock \/run\/xtables\.lock: held by \S+ \(pid \d+\) for more than 200 ms$/);
    return true;
  });
  const waited = performance.now() - began;
  assert.ok(waited >= 200 && waited < 10_000, String(waited));
  assert.deepEqual(await iptables.list(), { present: false, jumps: [], chains: [] }, 'reading takes no lock');
  holder.stdin.end('\n');
  await once(holder, 'close');
  assert.equal((await iptables.commit(programOf(service()))).changed, true);
});

test('who waits for the lock gets it, and close() ends the wait', options, async () => {
  await using netns = await Netns.create();
  await using patient = await Iptables.open({ family: 'ip', netns, lockTimeoutMs: 60_000 });
  const closed = await Iptables.open({ family: 'ip', netns, lockTimeoutMs: 60_000 });
  const holder = spawn('flock', [LOCK, '-c', 'echo held; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  const given = assert.rejects(closed.commit(programOf(service())), { name: 'ClosedError' });
  const taken = patient.commit(programOf(service()));
  await closed.close();
  await given;
  holder.stdin.end('\n');
  assert.equal((await taken).changed, true);
});

test('a worker and a process that end while they wait do not wait', options, async () => {
  const holder = spawn('flock', [LOCK, '-c', 'echo held; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  const began = performance.now();
  const worker = new Worker(new URL('iptables-writer.ts', import.meta.url), { argv: ['wait'], stdout: true });
  await once(worker.stdout, 'data');
  await worker.terminate();
  await using netns = await Netns.create();
  const child = start(netns, 'wait', ['exit']);
  assert.equal((await ended(child)).status, 0);
  assert.ok(performance.now() - began < 20_000, 'the wait is one of 60 seconds');
  holder.stdin.end('\n');
  await once(holder, 'close');
});

test('killed in the middle, the lock is free and the table is whole', { ...options, timeout: 120_000 }, async () => {
  await using netns = await Netns.create();
  await using iptables = await Iptables.open({ family: 'ip', netns, lockTimeoutMs: 5000 });
  const rules = 3000;
  for (let round = 0; round < 5; round++) {
    const child = start(netns, 'big', [String(rules)]);
    await once(child.stdout!, 'data');
    // Held for most of the time; a moment later it is killed wherever it is.
    await until('the lock is held', () => inside(netns, ['sh', '-c', `flock -n ${LOCK} true && echo free || echo held`]) === 'held\n');
    await new Promise((resolve) => setTimeout(resolve, round * 7));
    child.kill('SIGKILL');
    await once(child, 'close');
    const base = chainOf(saved(netns), 'RAVEL').length;
    assert.ok(base === 0 || base === 2 * rules, String(base));
    const outcome = await iptables.commit(programOf(service()));
    assert.equal(outcome.changed, true);
    assert.equal(chainOf(saved(netns), 'RAVEL').length, 2);
    await iptables.remove();
  }
});

test('a program that is in place is written once', options, async () => {
  await using netns = await Netns.create();
  const trace = ['strace', '-f', '-qq', '-e', 'trace=setsockopt', '-e', 'signal=none'];
  const { stdout, stderr, status } = await ended(start(netns, 'twice', [], trace));
  assert.equal(status, 0, stderr);
  assert.deepEqual(
    (JSON.parse(stdout) as { changed: boolean }[]).map(({ changed }) => changed),
    [true, false],
  );
  assert.equal(stderr.match(/IPT_SO_SET_REPLACE/g)?.length, 1, stderr);
});

test('somebody without the lock in between: the table is read again, and the rule stays', options, async () => {
  await using netns = await Netns.create();
  // The kernel gets our table a second late, every time.
  const trace = ['strace', '-f', '-qq', '-e', 'trace=setsockopt', '-e', 'inject=setsockopt:delay_enter=1000000', '-e', 'signal=none'];
  const run = ended(start(netns, 'twice', [], trace));
  await until('the lock is held', () => inside(netns, ['sh', '-c', `flock -n ${LOCK} true && echo free || echo held`]) === 'held\n');
  const lockless = [
    'env',
    'XTABLES_LOCKFILE=/run/other.lock',
    'iptables-legacy',
    '-t',
    'nat',
    '-A',
    'PREROUTING',
    '-p',
    '99',
    '-j',
    'RETURN',
  ];
  inside(netns, lockless);
  const { stdout, stderr, status } = await run;
  assert.equal(status, 0, stderr);
  const [first] = JSON.parse(stdout) as { attempts: number }[];
  assert.equal(first?.attempts, 2, stderr);
  assert.deepEqual(chainOf(saved(netns), 'PREROUTING'), ['-p 99 -j RETURN', '-j RAVEL']);
});

test('without the capability the kernel refuses, and the error says which is missing', options, async () => {
  await using netns = await Netns.create();
  const { stderr, status } = await ended(start(netns, 'twice', [], ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-all']));
  assert.notEqual(status, 0);
  assert.match(stderr, /KernelError: iptables\.open \S+: EPERM: needs CAP_NET_ADMIN and CAP_NET_RAW/);
  assert.equal(saved(netns).includes('RAVEL'), false);
});
