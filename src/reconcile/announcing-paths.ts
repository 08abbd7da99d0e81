/**
 * Announcing by routes: paths in a BGP daemon. Whatever becomes of the daemon is told, and is nobody's failure: the data plane
 * is programmed all the same, and the speaker tries again by itself.
 */
import type { AnnouncementStatus } from '../announce/announcer.ts';
import type { PathChange, Speaking } from '../announce/bgp/speaking.ts';
import { nothingDone, type DriverOutcome } from '../drivers/outcome.ts';
import { realserverRequirements, type SysctlRequirement } from '../drivers/sysctls.ts';
import type { BgpConfig } from '../model/bgp.ts';
import type { Address, ClusterState } from '../model/cluster.ts';
import type { Announcing } from './announcing.ts';
import { describePath, describePeer } from './describe.ts';
import type { PlannedChange } from './plane.ts';

export interface PathAnnouncingOptions {
  readonly speaking: Speaking;
  /** What the configuration and the flags say together. */
  readonly config: (state: ClusterState) => BgpConfig | undefined;
}

export class PathAnnouncing implements Announcing {
  readonly #speaking: Speaking;
  readonly #config: PathAnnouncingOptions['config'];
  #unseen: string | undefined;

  constructor({ speaking, config }: PathAnnouncingOptions) {
    this.#speaking = speaking;
    this.#config = config;
  }

  /** Every director holds the VIPs, and the segment is to ask none of them: only the next hop that was routed to. */
  settings(interfaceName: string): readonly SysctlRequirement[] {
    return realserverRequirements([interfaceName], []);
  }

  has(address: Address): boolean {
    return this.#speaking.has(address);
  }

  status(address: Address): AnnouncementStatus | undefined {
    return this.#speaking.status(address);
  }

  get warnings(): readonly string[] {
    const { endpoint, error } = this.#speaking.document();
    return error === null ? [] : [`BGP daemon ${endpoint}: ${error}`];
  }

  get unseen(): string | undefined {
    return this.#unseen;
  }

  forget(): void {
    // What the daemon has is the speaker's to know: it hears of changes.
  }

  observe(): Promise<void> {
    return Promise.resolve();
  }

  configure(state: ClusterState): void {
    this.#speaking.configure(this.#config(state));
  }

  async withdraw(addresses: readonly Address[]): Promise<DriverOutcome> {
    const announced = addresses.filter((address) => this.#speaking.has(address));
    if (announced.length > 0) await this.#speaking.withdraw(announced);
    return nothingDone;
  }

  async withdrawOthers(stays: (address: Address) => boolean): Promise<DriverOutcome> {
    await this.#speaking.withdrawOthers(stays);
    return nothingDone;
  }

  async goingDown(staying: ReadonlySet<Address>): Promise<readonly PlannedChange[]> {
    return (await this.#plan(staying)).filter(({ op }) => op === 'withdrawPath').map(describePath);
  }

  async goingUp(addresses: ReadonlySet<Address>): Promise<readonly PlannedChange[]> {
    const peers = (await this.#ask(() => this.#speaking.planPeers())).map(describePeer);
    return [...peers, ...(await this.#plan(addresses)).filter(({ op }) => op !== 'withdrawPath').map(describePath)];
  }

  #plan(wanted: ReadonlySet<Address>): Promise<readonly PathChange[]> {
    return this.#ask(() => this.#speaking.plan([...wanted]));
  }

  /** Without the daemon nobody knows; what is to change in the kernel is worth knowing all the same. */
  async #ask<Change>(question: () => Promise<readonly Change[]>): Promise<readonly Change[]> {
    try {
      return await question();
    } catch (error) {
      this.#unseen = `what would change in the BGP daemon is not known: ${error instanceof Error ? error.message : String(error)}`;
      return [];
    }
  }

  announce(addresses: readonly Address[]): Promise<DriverOutcome> {
    this.#speaking.announce(addresses);
    return Promise.resolve(nothingDone);
  }
}
