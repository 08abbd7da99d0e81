/** What the tests of mode bgp have in common: states, and one record of what is written to the kernel and to the daemon. */
import type { BgpConfig } from '../../src/model/bgp.ts';
import type { ClusterState } from '../../src/model/cluster.ts';
import { parseCommunities } from '../../src/model/communities.ts';
import type { AgentOptions } from '../../src/modes/options.ts';
import { cluster, type ClusterShape } from './cluster.ts';
import { defaultBgp, type Rig } from './rig.ts';

export const both = parseCommunities(['65000:200', '65000:100']);
export const marked: Partial<AgentOptions> = { bgp: { ...defaultBgp, attributes: both } };

export const web = (vips: readonly string[], pods: ClusterShape['pods'] = { web: ['n1', 'n2'] }): ClusterState =>
  cluster({ pods, vips: vips.map((vip) => [vip, 80, 'web'] as const) });
export const saying = (state: ClusterState, bgp: BgpConfig): ClusterState => ({ ...state, bgp });

/** Kernel and daemon write into one record from now on. */
export function recording(rig: Rig): Rig {
  const { journal } = rig.kernel;
  rig.daemon.onWrite = (op, prefix) => journal.write(`bgp.${op}`, prefix);
  journal.clear();
  return rig;
}

export const written = ({ kernel }: Rig): string[] => kernel.journal.calls.map(({ op, subject }) => `${op} ${subject}`);
export const about = (rig: Rig, vip: string): string[] => written(rig).filter((line) => line.includes(vip));
export const prefixes = (rig: Rig): string[] => [...rig.daemon.ours.keys()].sort();
/** A session with somebody who listens. */
export const heard = (rig: Rig): Rig => {
  rig.daemon.setPeer({ address: '10.0.0.9', asn: 65009 }, false);
  return rig;
};
