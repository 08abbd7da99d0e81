/** Network namespaces, made and used through iproute2. */
import { execFile, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';

export interface Output {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. Throws when its exit status is not among `accept` (default: 0 only). */
export function run(
  command: readonly string[],
  options: { readonly input?: string; readonly accept?: readonly number[] } = {},
): Promise<Output> {
  return new Promise((resolve, reject) => {
    const [file, ...args] = command;
    const child = execFile(file!, args, { maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      if ((options.accept ?? [0]).includes(status)) resolve({ status, stdout, stderr });
      else reject(new Error(`${command.join(' ')}: status ${status}\n${stderr}${stdout}`));
    });
    // A program that ends without reading its input says so by its exit status.
    child.stdin?.on('error', () => undefined).end(options.input ?? '');
  });
}

export class Namespace {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static async create(name: string): Promise<Namespace> {
    await run(['ip', 'netns', 'add', name]);
    const namespace = new Namespace(name);
    // IPVS takes no destination while lo is down.
    await namespace.ip('link set lo up');
    return namespace;
  }

  /** Runs `ip` commands, one a line, in one process: starting one each is slow under emulation. */
  async ip(...lines: readonly string[]): Promise<void> {
    await run(['ip', '-n', this.name, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  inside(command: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.name, ...command];
  }

  run(command: readonly string[], options?: Parameters<typeof run>[1]): Promise<Output> {
    return run(this.inside(command), options);
  }

  /** Starts a program; its process id is the program's own, since `ip netns exec` replaces itself. */
  spawn(command: readonly string[], options: SpawnOptions): ChildProcess {
    const [file, ...args] = this.inside(command);
    return spawn(file!, args, options);
  }

  async remove(): Promise<void> {
    await run(['ip', 'netns', 'delete', this.name]);
  }
}
