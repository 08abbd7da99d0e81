/** The product starts no process: strace watches agents at work. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { LabAgent } from '../lab/agent.ts';
import { ClusterFile } from '../lab/cluster-file.ts';
import { LabProcess } from '../lab/process.ts';
import { Topology } from '../lab/topology.ts';
import { waitFor } from '../lab/wait.ts';

let topology: Topology;
let file: ClusterFile;

before(async () => {
  topology = await Topology.create();
  await topology.addPod('web-1', 'n1');
  await topology.addPod('web-2', 'n2');
  file = new ClusterFile(topology);
  file.write();
});

after(() => topology.close());

/** Successful calls only. With seccomp the other system calls run at full speed. */
const strace = (log: string): string[] => ['strace', '-f', '--seccomp-bpf', '-z', '-e', 'trace=execve,execveat', '-o', log];

function programs(log: string): string[] {
  return [...readFileSync(log, 'utf8').matchAll(/execve(?:at)?\(.*"([^"]+)", \[/g)].map((match) => match[1]!);
}

test('strace sees the programs that a process starts', async () => {
  const log = '/run/control.strace';
  const shell = new LabProcess(topology.hosts.client, 'control', [
    ...strace(log),
    process.execPath,
    '-e',
    'child_process.execFileSync("/bin/true")',
  ]);
  await waitFor('the control to end', () => shell.exit !== undefined);
  assert.deepEqual(programs(log), [process.execPath, '/bin/true']);
});

for (const [host, mode] of [
  ['director', 'director'],
  ['n1', 'realserver'],
] as const) {
  test(`a ${mode} executes nothing after its start, whatever it has to do`, async () => {
    const log = `/run/${mode}.strace`;
    const agent = new LabAgent(topology.hosts[host], mode, file.path);
    agent.start(strace(log));
    await agent.settled();
    // Work of every kind: a change, bad input, drift made by another hand, a signal, the end.
    file.set('web-1', 'starting');
    await waitFor('the change to be made', async () => {
      const dump = host === 'director' ? ['ipvsadm', '-Sn'] : ['nft', 'list', 'ruleset'];
      const { stdout } = await topology.hosts[host].run(dump);
      // At weight 0 for a moment, then gone.
      return host === 'director' ? !/10\.20\.0\.11:80 -g -w [1-9]/.test(stdout) : !stdout.includes('10.244.1.2');
    });
    const good = file.text();
    file.writeText('nodes: [');
    await waitFor('the bad file to be refused', async () => (await agent.document())?.source.refused !== null);
    file.writeText(good);
    await waitFor('the good file to be accepted', async () => (await agent.document())?.source.refused === null);
    await topology.hosts[host].ip('addr flush dev ravel0');
    await waitFor('the lost address to be put back', async () => {
      const { stdout } = await topology.hosts[host].run(['ip', 'addr', 'show', 'dev', 'ravel0']);
      return host !== 'director' || stdout.includes('10.20.0.100/32');
    });
    const pid = (await agent.document())!.pid;
    process.kill(pid, 'SIGHUP');
    process.kill(pid, 'SIGTERM');
    await waitFor('the agent to end', () => agent.process.exit !== undefined);
    assert.equal(agent.process.exit, 'status 0');
    assert.deepEqual(programs(log), [process.execPath]);
    file.set('web-1', 'ready');
  });
}
