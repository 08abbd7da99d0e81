/** What the chart tells the agent is understood by the agent: the real command line reads it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { V1Container } from '@kubernetes/client-node';
import { valueSets } from '../../../scripts/chart.ts';
import { agentOptions } from '../../../src/cli/agent-options.ts';
import { runCommandLine } from '../../../src/cli/command-line.ts';
import type { Command } from '../../../src/cli/command.ts';
import { flags, type FlagName } from '../../../src/cli/flags.ts';
import { resolveFlags } from '../../../src/cli/resolve.ts';
import { parseCommunities } from '../../../src/model/communities.ts';
import type { AgentOptions } from '../../../src/modes/options.ts';
import { componentsOf, manifestsOf, podOf, type Component } from './manifests.ts';

interface Understood {
  readonly options: AgentOptions | undefined;
  readonly warnings: readonly string[];
  /** What the command line said instead. */
  readonly complaint: string;
}

/** The options that an agent would run with; `environment` as the kubelet would give it. */
async function understand(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Understood> {
  let options: AgentOptions | undefined;
  let warnings: readonly string[] = [];
  let complaint = '';
  const command: Command = {
    ...{ command: '$0', describe: 'as the agent reads it', examples: [], flags: Object.keys(flags) as FlagName[] },
    run: async (context) => {
      options = agentOptions(context.flags);
      warnings = (await resolveFlags(context.argv, environment)).warnings;
      return 0;
    },
  };
  await runCommandLine([command], args, {
    ...{ environment, root: '/', stderrIsTerminal: false },
    output: { print: () => {}, complain: (text) => void (complaint += text), colour: false },
  });
  return { options, warnings, complaint };
}

/** Arguments and variables with `$(NAME)` replaced, as the kubelet does. */
function asStarted({ args = [], env = [] }: V1Container): { args: string[]; environment: Record<string, string> } {
  const environment: Record<string, string> = {};
  for (const { name, value, valueFrom } of env) {
    if (valueFrom !== undefined) assert.equal(valueFrom.fieldRef?.fieldPath, 'spec.nodeName');
    environment[name] = value ?? 'node-7';
  }
  return { args: args.map((text) => text.replaceAll(/\$\((\w+)\)/g, (whole, name: string) => environment[name] ?? whole)), environment };
}

async function optionsOf(set: string, component: Component): Promise<AgentOptions> {
  const { args, environment } = asStarted(podOf(manifestsOf(set), component).container);
  const { options, warnings, complaint } = await understand(args, environment);
  assert.equal(complaint, '', `${set} ${component}`);
  assert.deepEqual(warnings, [], `${set} ${component}: no flag without effect`);
  assert.ok(options);
  return options;
}

test('the agent understands every argument of every set of values', async () => {
  for (const set of valueSets().keys())
    for (const component of componentsOf(manifestsOf(set))) {
      const options = await optionsOf(set, component);
      assert.equal(options.mode, set === 'bgp' && component === 'director' ? 'bgp' : component);
      assert.equal(options.combined, set === 'combined' && component === 'director' ? true : undefined);
      assert.equal(options.natBackend, set === 'combined' ? 'auto' : 'nftables');
      assert.equal(options.nodeName, 'node-7');
      assert.equal(options.agentNamespace, 'ravel', 'Leases are kept where the Role allows it');
    }
});

test('the values arrive as options', async () => {
  const director = await optionsOf('full', 'director');
  assert.deepEqual(director.source, { kind: 'kubernetes', namespace: 'platform', name: 'vips', key: 'green', kubeconfig: undefined });
  assert.equal(director.interface, 'bond0');
  assert.equal(director.stateDirectory, '/var/lib/ravel');
  assert.equal(director.auditMilliseconds, 30_000);
  assert.deepEqual(Object.fromEntries(director.ipvsSysctls), { conn_reuse_mode: '0', sloppy_tcp: '1' });
  const realserver = await optionsOf('full', 'realserver');
  assert.equal(realserver.interface, 'eth1');
  assert.equal(realserver.masquerade.enabled, false, 'the value of the mode goes before the common one, also when it is false');
  assert.equal(director.masquerade.enabled, true);
  assert.equal(realserver.handoverMilliseconds, 2000);
});

test('what is said about routes arrives as options', async () => {
  const { bgp, ipvsSync, coordinatorPorts } = await optionsOf('bgp', 'director');
  assert.equal(bgp?.endpoint, 'unix:/run/gobgpd/api.sock');
  assert.deepEqual(bgp.tls, {
    ...{ caFile: '/etc/ravel-agent/bgp-tls/ca.crt', certificateFile: '/etc/ravel-agent/bgp-tls/tls.crt' },
    keyFile: '/etc/ravel-agent/bgp-tls/tls.key',
  });
  assert.deepEqual(bgp.attributes, parseCommunities(['65000:100', 'no-export', '65000:1:2']));
  assert.equal(bgp.drainMilliseconds, 30_000);
  assert.deepEqual(
    bgp.peers?.map(({ address, passwordFile, bfd }) => [address, passwordFile, bfd?.transmitMilliseconds]),
    [
      ['10.0.0.1', '/etc/ravel-agent/bgp/tor', undefined],
      ['10.0.0.2', undefined, 300],
    ],
  );
  assert.deepEqual([ipvsSync, coordinatorPorts], [{ interface: 'eth0', syncId: 7 }, [44_444]]);
  assert.equal((await optionsOf('directors', 'director')).bgp, undefined);
});

test('an argument that the agent does not know, or that has no effect, is noticed', async () => {
  const { args, environment } = asStarted(podOf(manifestsOf('minimal'), 'director').container);
  assert.match((await understand([...args, '--compute-ifase=eth0'], environment)).complaint, /compute-ifase/);
  assert.match((await understand([...args, '--arp-rate=fast'], environment)).complaint, /--arp-rate/);
  assert.match((await understand([...args, '--source-file=a.yaml'], environment)).complaint, /source-file/);
  assert.match((await understand(args.slice(1), environment)).complaint, /mode/);
  assert.equal((await understand([...args, '--bgp-bin=x', '--log-level=error'], environment)).warnings.length, 1);
});
