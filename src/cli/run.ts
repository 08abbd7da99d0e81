import { InputRefusedError, openOrigin } from '../modes/origin.ts';
import { Agent } from '../modes/run.ts';
import { systemClock } from '../reconcile/clock.ts';
import { agentOptions, idleFlags, withoutWaits, type ModeFlag } from './agent-options.ts';
import type { Command, CommandContext, ExitCode } from './command.ts';
import { flags, type FlagName } from './flags.ts';
import { openJournal } from './journal.ts';
import { version } from './version-number.ts';

async function runOnce(agent: Agent, context: CommandContext, place: string): Promise<ExitCode> {
  const { failures, held } = await agent.once().catch((error: unknown) => {
    if (!(error instanceof InputRefusedError)) throw error;
    context.log().error('input refused; nothing was changed', { source: place, problems: error.problems.length });
    for (const { path, message, line } of error.problems.slice(0, 100)) context.log().error(message, { path, line });
    return { failures: ['input'], held: undefined };
  });
  return failures.length === 0 && held === undefined ? 0 : 1;
}

/**
 * Until SIGTERM or SIGINT, which leave the data plane as it is, a second one at once; SIGHUP reads the source again.
 */
async function runOn(agent: Agent): Promise<ExitCode> {
  const stop = new AbortController();
  const hurry = new AbortController();
  const end = (): void => (stop.signal.aborted ? hurry : stop).abort();
  const reload = (): void => agent.reload();
  // Neither timers nor sockets of the agent hold the process; this does.
  const alive = setInterval(() => {}, 3_600_000);
  process.on('SIGTERM', end).on('SIGINT', end).on('SIGHUP', reload);
  try {
    await agent.run(stop.signal, hurry.signal);
    return 0;
  } finally {
    clearInterval(alive);
    process.off('SIGTERM', end).off('SIGINT', end).off('SIGHUP', reload);
  }
}

async function run(context: CommandContext, mode: ModeFlag | undefined): Promise<ExitCode> {
  const once = context.argv['once'] === true;
  const asked = agentOptions(context.flags, mode);
  const options = once ? withoutWaits(asked) : asked;
  const log = context.log();
  for (const warning of idleFlags(context.flags, mode)) log.warn(warning);
  const { openDaemon } = context;
  const common = { clock: systemClock, random: Math.random, log, ...(openDaemon === undefined ? {} : { openDaemon }) };
  const origin = await openOrigin(options, common);
  try {
    const journal = await openJournal(options.stateDirectory, context.root);
    const agent = new Agent({ options, version, parts: { ...common, kernel: context.kernel(), journal }, origin });
    return await (once ? runOnce(agent, context, origin.place) : runOn(agent));
  } finally {
    origin.close();
  }
}

const options = {
  once: { type: 'boolean', describe: 'make the kernel hold what is asked for, and exit: 0 when it does, else 1' },
} as const;
const common = (Object.keys(flags) as FlagName[]).filter((name) => name !== 'mode');
const sample = '--compute-iface=eth0 --source-file=cluster.yaml';
const routed = '--bgp-endpoint=127.0.0.1:50051 --bgp-communities=65000:100';
const inCluster = '--compute-iface=eth0 --config-name=ravel';

export const runCommand: Command = {
  command: '$0',
  describe: 'run in the given mode until stopped; what was programmed stays in force',
  examples: [
    [`$0 --mode=director ${sample}`, 'run a director'],
    [`$0 --mode=director ${inCluster} --config-namespace=load-balancing`, 'the same for a Kubernetes cluster'],
    [`$0 --mode=bgp ${sample} ${routed} --bgp-drain=10s`, 'one director of several, announced through a GoBGP daemon'],
    [`$0 --mode=realserver --nodename=n1 ${sample} --once`, 'program this node once'],
  ],
  flags: ['mode', ...common],
  options,
  run: (context) => run(context, context.flags.mode),
};

export const directorCommand: Command = {
  command: 'director',
  describe: 'the same as --mode=director',
  examples: [[`$0 director ${sample}`, 'run a director']],
  flags: common,
  options,
  run: (context) => run(context, 'director'),
};

export const bgpCommand: Command = {
  command: 'bgp',
  describe: 'the same as --mode=bgp',
  examples: [
    [`$0 bgp ${sample} ${routed}`, 'run a director whose VIPs are routes'],
    [`$0 bgp ${sample} --bgp-asn=65000 --bgp-router-id=10.0.0.2 --bgp-peers="10.0.0.1,asn=65001,bfd=300ms"`, 'and set up its neighbour'],
  ],
  flags: common,
  options,
  run: (context) => run(context, 'bgp'),
};

export const realserverCommand: Command = {
  command: 'realserver',
  describe: 'the same as --mode=realserver',
  examples: [[`$0 realserver --nodename=n1 ${sample}`, 'run a realserver']],
  flags: common,
  options,
  run: (context) => run(context, 'realserver'),
};
