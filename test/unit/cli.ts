/** Runs the command line in this process, on a fake kernel, and catches what it prints. */
import { runCommandLine } from '../../src/cli/command-line.ts';
import { commands } from '../../src/cli/commands.ts';
import { systemClock } from '../../src/reconcile/clock.ts';
import { FakeBgpDaemon } from '../fake-kernel/fake-bgp-daemon.ts';
import { FakeKernel } from '../fake-kernel/kernel.ts';

const nobody = new FakeBgpDaemon(systemClock);
nobody.stop();

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly environment?: NodeJS.ProcessEnv;
  readonly kernel?: FakeKernel;
  /** Default: nobody is there. */
  readonly daemon?: FakeBgpDaemon;
  readonly root?: string;
  readonly colour?: boolean;
}

export async function ravelAgent(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  let out = '';
  let err = '';
  const { ports } = options.kernel ?? new FakeKernel();
  const { daemon = nobody } = options;
  const code = await runCommandLine(commands, args, {
    environment: options.environment ?? {},
    root: options.root ?? '/',
    stderrIsTerminal: false,
    output: { print: (text) => void (out += text), complain: (text) => void (err += text), colour: options.colour ?? false },
    openKernel: () => ({ ...ports, close: () => Promise.resolve() }),
    openDaemon: () => daemon.connect(),
  });
  return { code, out, err };
}
