/** What a director needs of its host beside addresses, IPVS and rules: kernel settings, tunnels, connection synchronization. */
import { tunnelInterfaces, tunnelRequirements, type TunnelRequirements } from '../diff/tunnels.ts';
import { describeSync, type IpvsSyncDriver, type PlannedSync, type SyncRequirement } from '../drivers/ipvs-sync.ts';
import { failureOf, type DriverFailure, type DriverOutcome } from '../drivers/outcome.ts';
import { realserverRequirements, type SysctlDriver, type SysctlPlan, type SysctlRequirement } from '../drivers/sysctls.ts';
import { describeTunnel, type TunnelDriver } from '../drivers/tunnels.ts';
import type { ClusterState } from '../model/cluster.ts';
import type { Link } from '../native/link-types.ts';
import type { Announcing } from './announcing.ts';
import { describeSysctl } from './describe.ts';
import type { PlannedChange } from './plane.ts';

export interface HostOptions {
  readonly sysctls: SysctlDriver;
  /** Below net.ipv4.vs; `conntrack`: connections that IPVS forwards are to be seen by rules of this machine. */
  readonly settings: (needs: { readonly conntrack: boolean }) => readonly SysctlRequirement[];
  /** Of a director that takes packets for pods of its own as a realserver does. */
  readonly tunnels: TunnelDriver;
  readonly sync: IpvsSyncDriver;
  /** Undefined: connections are told to nobody. */
  readonly synchronize: SyncRequirement | undefined;
  readonly announcing: Pick<Announcing, 'settings'>;
  /** Where the VIPs are announced. */
  readonly interface: string;
  readonly colocated: boolean;
}

const trackingSetting = 'net/ipv4/vs/conntrack';

export class DirectorHost {
  readonly #options: HostOptions;

  constructor(options: HostOptions) {
    this.#options = options;
  }

  get warnings(): readonly string[] {
    return this.#options.sysctls.warnings;
  }

  #tunnels(state: ClusterState): TunnelRequirements {
    return tunnelRequirements(this.#options.colocated ? state.virtualServices.values() : []);
  }

  /** Where nothing is asked for, what keeps an earlier configuration from being undone is told by the sysctls, which share its record. */
  async planTunnels(state: ClusterState): Promise<Pick<Awaited<ReturnType<TunnelDriver['plan']>>, 'operations' | 'failures'>> {
    const { tunnels, colocated } = this.#options;
    try {
      return await tunnels.plan(this.#tunnels(state));
    } catch (error) {
      return { operations: [], failures: colocated ? [failureOf(error, 'tunnels.plan', 'tunnel devices')] : [] };
    }
  }

  applyTunnels({ operations }: Awaited<ReturnType<DirectorHost['planTunnels']>>): Promise<DriverOutcome> {
    return this.#options.tunnels.apply(operations);
  }

  /** Packets for pods here come in as at a realserver; whether this host answers ARP is the announcer's to say. */
  planSettings(state: ClusterState, needed: boolean, links: readonly Link[]): Promise<SysctlPlan> {
    const { colocated, sysctls, settings, announcing, interface: facing } = this.#options;
    const inbound = colocated ? [facing, ...tunnelInterfaces(this.#tunnels(state))] : [];
    const isThere = (name: string): boolean => links.some((link) => link.name === name);
    const announcer = isThere(facing) ? announcing.settings(facing) : [];
    const own = settings({ conntrack: colocated || needed });
    return sysctls.plan([...own, ...announcer, ...realserverRequirements([], inbound.filter(isThere))]);
  }

  applySettings({ operations }: SysctlPlan): Promise<DriverOutcome> {
    return this.#options.sysctls.apply(operations);
  }

  /** Connections are to be seen by rules, and the kernel has it so. */
  isTracked(needed: boolean, failures: readonly DriverFailure[]): boolean {
    const { colocated, settings } = this.#options;
    const setting = settings({ conntrack: colocated || needed }).find(({ key }) => key === trackingSetting);
    return setting?.accepts('1') === true && !failures.some(({ subject }) => subject === trackingSetting);
  }

  /** Without it connections are told to nobody, which keeps nothing else from being done. */
  async #planSync(): Promise<PlannedSync> {
    const { sync, synchronize } = this.#options;
    try {
      return await sync.plan(synchronize);
    } catch (error) {
      const failures = synchronize === undefined ? [] : [failureOf(error, 'ipvs.syncDaemons', 'connection synchronization')];
      return { operations: [], failures };
    }
  }

  async synchronize(): Promise<DriverOutcome> {
    const { operations, failures } = await this.#planSync();
    const outcome = await this.#options.sync.apply(operations);
    return { ...outcome, failures: [...failures, ...outcome.failures] };
  }

  /** What a pass would do to the host, for `plan`. */
  async preview(state: ClusterState, needed: boolean, links: readonly Link[]): Promise<readonly PlannedChange[]> {
    const { operations } = await this.planSettings(state, needed, links);
    const tunnelling = await this.planTunnels(state);
    const sync = await this.#planSync();
    return [...tunnelling.operations.map(describeTunnel), ...operations.map(describeSysctl), ...sync.operations.map(describeSync)];
  }
}
