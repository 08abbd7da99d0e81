/** Watches a namespace from outside of the agent: which nftables and rtnetlink objects are written. */
import { LabProcess } from './process.ts';
import type { Namespace } from './namespace.ts';
import { waitFor } from './wait.ts';

export class Witness {
  readonly #namespace: Namespace;
  readonly #monitors: readonly LabProcess[];

  private constructor(namespace: Namespace) {
    this.#namespace = namespace;
    this.#monitors = [
      new LabProcess(namespace, `nft-monitor-${namespace.name}`, ['stdbuf', '-oL', 'nft', 'monitor']),
      new LabProcess(namespace, `ip-monitor-${namespace.name}`, ['stdbuf', '-oL', 'ip', '-o', 'monitor', 'link', 'address', 'route']),
    ];
  }

  /** Resolves when both monitors have proved that they see. */
  static async create(namespace: Namespace): Promise<Witness> {
    const witness = new Witness(namespace);
    await witness.#probe();
    return witness;
  }

  /** Makes a sign of our own and waits until both have shown it; returns what they showed before it. */
  async #probe(): Promise<string[]> {
    const seen: string[][] = this.#monitors.map(() => []);
    await waitFor('the monitors to see our sign', async () => {
      await this.#namespace.run(['nft', 'add table ip witness; delete table ip witness']);
      await this.#namespace.ip('addr add 192.0.2.255/32 dev lo', 'addr del 192.0.2.255/32 dev lo');
      this.#monitors.forEach((monitor, index) => seen[index]!.push(...monitor.takeLines()));
      return seen.every((lines) => lines.some((line) => /witness|192\.0\.2\.255/.test(line)));
    });
    // `nft monitor` closes each transaction with a line about the generation and the writer.
    return seen.flat().filter((line) => line !== '' && !/witness|192\.0\.2\.255|# new generation/.test(line));
  }

  /** Every object written since the start, a line each. */
  async close(): Promise<string[]> {
    const seen = await this.#probe();
    for (const monitor of this.#monitors) await monitor.stop('SIGKILL');
    return seen;
  }
}
