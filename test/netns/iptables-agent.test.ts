/** The agent as a process on a node with legacy iptables: cases C12 and C13, judged by iptables-legacy-save and by packets. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { NatBackendKind } from '../../src/drivers/nat-backend.ts';
import type { AgentDocument } from '../../src/observe/agent-document.ts';
import { askAgent } from '../../src/observe/status-server.ts';
import { temporaryDirectory } from '../temporary-directory.ts';
import { unsupported } from './iptables-available.ts';
import { chainOf, saved } from './iptables-support.ts';
import { CLIENT, NatLab, POD, VIP, VIP6 } from './nat-lab.ts';
import { inside } from './nftables-support.ts';
import { until } from './tools.ts';

const options = { skip: unsupported };
const program = existsSync('dist/ravel-agent.js') ? 'dist/ravel-agent.js' : 'src/cli/main.ts';

function clusterText(pods: readonly (keyof typeof POD)[], other: readonly string[] = []): string {
  const endpoint = (address: string, node: string) => ({ address, port: 8080, portName: 'http', node });
  const target = { namespace: 'shop', service: 'api', portName: 'http' };
  return JSON.stringify({
    nodes: [
      { name: 'n1', addresses: ['10.9.0.1'] },
      { name: 'n2', addresses: ['10.9.0.9'] },
    ],
    services: [
      {
        ...{ namespace: 'shop', name: 'api', ports: [{ name: 'http', port: 8080, protocol: 'TCP' }] },
        endpoints: [
          ...pods.flatMap((pod) => POD[pod].map((address) => endpoint(address, 'n1'))),
          ...other.map((address) => endpoint(address, 'n2')),
        ],
      },
    ],
    config: { [VIP]: { '80': target, '8443': target } },
    config6: { [VIP6]: { '80': target } },
  });
}

/** An agent in the lab's node, which reads a file that the test replaces. */
class Agent {
  readonly #lab: NatLab;
  readonly #folder = temporaryDirectory('iptables');
  readonly flags: readonly string[];
  #process: ChildProcess | undefined;
  log = '';

  constructor(lab: NatLab, extra: readonly string[] = []) {
    this.#lab = lab;
    inside(lab.node, ['ip', 'link', 'add', 'vip0', 'type', 'bridge']);
    inside(lab.node, ['ip', 'link', 'set', 'vip0', 'up']);
    this.flags = [
      ...['--mode=realserver', '--compute-iface=toclient', '--vip-interface=vip0', '--nodename=n1'],
      ...[`--source-file=${join(this.#folder, 'cluster.json')}`, `--state-dir=${join(this.#folder, 'state')}`, '--coordinator-port=0'],
      ...['--handover-delay=0s', ...extra],
    ];
  }

  get socket(): string {
    return join(this.#folder, 'state', 'realserver.sock');
  }

  /** As editors and kubelets do it: a new file takes the name. */
  write(text: string): void {
    writeFileSync(join(this.#folder, 'new'), text);
    renameSync(join(this.#folder, 'new'), join(this.#folder, 'cluster.json'));
  }

  start(backend: NatBackendKind, words: readonly string[] = []): ChildProcess {
    const flags = [...words, ...this.flags, `--nat-backend=${backend}`];
    const child = spawn('nsenter', [`--net=${this.#lab.node.path}`, process.execPath, program, ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.log += text));
    child.stdout.setEncoding('utf8').on('data', (text: string) => (this.log += text));
    return child;
  }

  async run(): Promise<void> {
    this.#process = this.start('iptables');
    await until(`the first pass; the agent said ${this.log}`, async () => ((await this.status())?.loop.passes ?? 0) >= 1);
  }

  async status(): Promise<AgentDocument | undefined> {
    return (await askAgent(this.socket)) as AgentDocument | undefined;
  }

  async once(backend: NatBackendKind): Promise<number | null> {
    const [status] = (await once(this.start(backend, ['--once']), 'close')) as [number | null];
    return status;
  }

  async stop(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  }
}

test(
  'C12: the agent’s chains as iptables-legacy-save prints them, both families; packets are shared and keep their source',
  options,
  async () => {
    await using lab = await NatLab.create();
    const agent = new Agent(lab, ['--iptables-masq=false']);
    agent.write(clusterText(['pod1', 'pod2'], ['10.50.2.2']));
    await agent.run();
    try {
      const comment = '-m comment --comment "shop/api:http"';
      const table = saved(lab.node);
      assert.deepEqual(chainOf(table, 'PREROUTING'), ['-j RAVEL']);
      assert.deepEqual(chainOf(table, 'OUTPUT'), ['-j RAVEL']);
      assert.deepEqual(chainOf(table, 'RAVEL'), [
        `-d ${VIP}/32 -p tcp -m tcp --dport 80 ${comment} -j RAVEL-SVC-RUKNB3TURLFC6SGL`,
        `-d ${VIP}/32 -p tcp -m tcp --dport 8443 ${comment} -j RAVEL-SVC-RUKNB3TURLFC6SGL`,
      ]);
      const choices = chainOf(table, 'RAVEL-SVC-RUKNB3TURLFC6SGL');
      assert.match(choices[0] ?? '', /^-m statistic --mode random --probability 0\.50000000000 -j RAVEL-SEP-/);
      assert.match(choices[1] ?? '', /^-j RAVEL-SEP-/);
      assert.ok(!table.includes('10.50.2.2'), 'the pod of another node');
      assert.deepEqual(chainOf(saved(lab.node, 'ip6'), 'RAVEL'), [
        `-d ${VIP6}/128 -p tcp -m tcp --dport 80 ${comment} -j RAVEL-SVC-RUKNB3TURLFC6SGL`,
      ]);
      for (const [family, vip] of [VIP, VIP6].entries()) {
        const answers = await lab.ask(lab.client, vip, 60);
        assert.deepEqual(new Set(answers.map(({ name, error }) => name ?? error)), new Set(['pod1', 'pod2']));
        assert.deepEqual(new Set(answers.map(({ from }) => from)), new Set([CLIENT[family]]));
      }
      assert.equal((await agent.status())?.nat?.kind, 'iptables');
    } finally {
      await agent.stop();
    }
    assert.ok(saved(lab.node).includes('RAVEL-SVC-'), 'what was programmed stays');
  },
);

test(
  'C13c: another writer between our reading and writing loses nothing, what is stale of ours goes, unchanged is unwritten',
  options,
  async () => {
    await using lab = await NatLab.create();
    const iptables = (...words: readonly string[]): string => inside(lab.node, ['iptables-legacy', '-w', '-t', 'nat', ...words]);
    for (const chain of ['KUBE-SERVICES', 'cali-PREROUTING', 'KUBE-MARK-DROP', 'RAVELIN', 'RAVEL-SVC-OLD']) iptables('-N', chain);
    for (const target of ['cali-PREROUTING', 'KUBE-SERVICES']) iptables('-A', 'PREROUTING', '-j', target);
    for (let twice = 0; twice < 2; twice++) iptables('-A', 'KUBE-MARK-DROP', '-j', 'MARK', '--set-xmark', '0x8000/0x8000');
    iptables('-A', 'RAVELIN', '-p', 'tcp', '-j', 'RETURN');
    const agent = new Agent(lab, ['--audit-interval=1s', '--iptables-masq=true', '--pod-cidr-masq=10.1.0.0/16']);
    agent.write(clusterText(['pod1']));
    await agent.run();
    try {
      // Both write for a while: the agent because its pods change, the other because it likes to.
      let mine = 0;
      for (let turn = 0; turn < 30; turn++) {
        agent.write(clusterText(turn % 2 === 0 ? ['pod1', 'pod2'] : ['pod1']));
        for (let rule = 0; rule < 4; rule++) iptables('-I', 'KUBE-SERVICES', '-d', `198.51.100.${mine++}/32`, '-j', 'RETURN');
      }
      agent.write(clusterText(['pod2']));
      await until('the last state', () => {
        const table = saved(lab.node);
        return table.includes(`--to-destination ${POD.pod2[0]}:8080`) && !table.includes(`--to-destination ${POD.pod1[0]}:8080`);
      });
      const table = saved(lab.node);
      assert.equal(chainOf(table, 'KUBE-SERVICES').length, mine, 'every rule of the other writer');
      assert.deepEqual(chainOf(table, 'PREROUTING'), ['-j cali-PREROUTING', '-j KUBE-SERVICES', '-j RAVEL']);
      assert.equal(chainOf(table, 'KUBE-MARK-DROP').length, 2);
      assert.equal(chainOf(table, 'RAVELIN').length, 1);
      assert.ok(!table.includes('RAVEL-SVC-OLD'));
      assert.deepEqual(chainOf(table, 'RAVEL-MASQ'), ['! -s 10.1.0.0/16 -j MARK --set-xmark 0x4000/0x4000'], 'C13b');
      // The audit looks again and again, and finds what others did to our chains: legacy tables tell nobody.
      const { written, passes } = (await agent.status())!.loop;
      await until('two audits', async () => (await agent.status())!.loop.passes >= passes + 2);
      assert.equal((await agent.status())!.loop.written, written);
      iptables('-F', 'RAVEL');
      await until('the audit', () => chainOf(saved(lab.node), 'RAVEL').length > 0);
      assert.equal(saved(lab.node).replace(/\[\d+:\d+\]/g, ''), table.replace(/\[\d+:\d+\]/g, ''));
      assert.deepEqual((await agent.status())?.failures, []);
    } finally {
      await agent.stop();
    }
  },
);

test('a restart with the other backend, under traffic: no connection is lost and the old rules are gone', options, async () => {
  await using lab = await NatLab.create();
  const agent = new Agent(lab, ['--iptables-masq=false']);
  agent.write(clusterText(['pod1', 'pod2']));
  await agent.run();
  const stream = await lab.stream(VIP, 5);
  await stream.more(50);
  await agent.stop();
  assert.equal(await agent.once('nftables'), 0, agent.log);
  assert.ok(!saved(lab.node).includes('RAVEL'));
  assert.ok(!saved(lab.node, 'ip6').includes('RAVEL'));
  assert.ok(inside(lab.node, ['nft', 'list', 'ruleset']).includes('table ip ravel'));
  await stream.more(50);
  assert.equal(await agent.once('iptables'), 0, agent.log);
  assert.ok(!inside(lab.node, ['nft', 'list', 'ruleset']).includes('ravel'));
  await stream.more(50);
  const { failures, lasting } = await stream.end();
  assert.deepEqual([failures, lasting], [[], true]);
});
