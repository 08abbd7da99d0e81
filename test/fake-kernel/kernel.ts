/**
 * A kernel in memory, as strict as Linux where the agent meets it. The conformance suite
 * (test/conformance) runs on it and on Linux: it is believed only where they agree.
 */
import type { Kernel } from '../../src/drivers/kernel.ts';
import { FakeArp } from './arp.ts';
import { FakeConntrack } from './conntrack-table.ts';
import { Faults } from './faults.ts';
import { FakeLegacyTables } from './iptables.ts';
import { FakeFou } from './fou.ts';
import { FakeIpvs } from './ipvs.ts';
import { Journal } from './journal.ts';
import { FakeLinks } from './links.ts';
import { FakeNdp } from './ndp.ts';
import { FakeNftables } from './nftables.ts';
import { FakeSysctls } from './sysctls.ts';

export class FakeKernel implements Kernel {
  readonly faults = new Faults();
  readonly journal = new Journal();
  readonly ipvs = new FakeIpvs(this.faults, this.journal, (name) => this.links.has(name));
  readonly nftables = new FakeNftables(this.faults, this.journal);
  readonly links = new FakeLinks(this.faults, this.journal);
  readonly arp = new FakeArp(this.faults);
  readonly ndp = new FakeNdp(this.faults);
  readonly fou = new FakeFou(this.faults, this.journal);
  readonly sysctls = new FakeSysctls(this.faults, this.journal, (name) => this.links.has(name));
  readonly conntrack = new FakeConntrack(undefined, this.faults, this.journal);
  readonly iptables = new FakeLegacyTables(this.faults, this.journal);

  /** What the agent is given of it. */
  get ports(): Kernel {
    const { ipvs, nftables, links, arp, ndp, fou, sysctls, conntrack, iptables } = this;
    return { ipvs, nftables, links, arp, ndp, fou, sysctls, conntrack, iptables };
  }

  /** Operations that changed something since the journal was cleared. */
  get writes(): number {
    return this.journal.writes;
  }

  /** No capability: everything that writes or dumps is refused. */
  denyEverything(): void {
    this.faults.failNext({ op: '*', code: 'EPERM', times: Infinity });
  }

  /** The module behind an interface is not there. */
  withoutModule(name: 'ipvs' | 'nftables' | 'iptables' | 'conntrack' | 'fou'): void {
    this.faults.failNext({ op: `${name}.*`, code: 'UNSUPPORTED', times: Infinity });
  }
}
