/** The checks of `check` about the way of a packet: forwarding, tunnels, and how large it may be. */
import { isIPv6 } from 'node:net';
import { narrowPaths, type NodePath } from '../diff/path-mtu.ts';
import { tunnelDevices, tunnelInterfaces, tunnelRequirements, type TunnelRequirements } from '../diff/tunnels.ts';
import { sysctlCommand } from '../drivers/proc-sysctls.ts';
import { realserverRequirements } from '../drivers/sysctls.ts';
import type { Address, ClusterState } from '../model/cluster.ts';
import type { Link } from '../native/link-types.ts';
import { UnsupportedError } from '../native/errors.ts';
import type { Finding } from './check.ts';
import { fail, hasModule, ok, settingFinding, warn, words, type CheckInput } from './findings.ts';

/** More of the same help nobody. */
const mostTold = 10;

/** The module that brings the device, by the device's kind. */
const moduleOf = { ipip: 'ipip', ip6tnl: 'ip6_tunnel', gre: 'ip_gre', ip6gre: 'ip6_gre' } as const;

const hasIpv6 = (state: ClusterState | undefined): boolean => state?.addresses.some((address) => isIPv6(address)) ?? false;

/** Packets that were translated leave for a pod, which is another machine to the kernel. */
export async function forwardingFindings({ kernel, state }: CheckInput): Promise<Finding[]> {
  const keys = ['net/ipv4/ip_forward', ...(hasIpv6(state) ? ['net/ipv6/conf/all/forwarding'] : [])];
  const findings: Finding[] = [];
  for (const key of keys) {
    const name = key.startsWith('net/ipv6') ? 'ipv6 forwarding' : 'ip_forward';
    const value = await kernel.sysctls.read(key);
    findings.push(
      value === '1'
        ? ok(name, '1: packets reach the pods')
        : fail(name, `${value ?? '?'}: packets do not reach the pods`, sysctlCommand(key, '1')),
    );
  }
  return findings;
}

async function deviceFinding({ root }: CheckInput, kind: keyof typeof moduleOf, links: readonly Link[]): Promise<Finding> {
  const name = tunnelDevices[kind];
  const link = links.find((candidate) => candidate.name === name);
  if (link === undefined) {
    const module = moduleOf[kind];
    if (await hasModule(root, module)) return ok('tunnel', `${name} will be made`);
    return fail('tunnel', `${name} is not there, and this kernel seems to have no module ${module}`, `modprobe ${module}`);
  }
  if (link.kind !== kind) return fail('tunnel', `${name} is a ${link.kind ?? 'physical'} device, not ${kind}`);
  return ok('tunnel', link.up ? `${name} is up` : `${name} is there, and will be put up`);
}

async function guePortFindings({ kernel }: CheckInput, { guePorts }: TunnelRequirements): Promise<Finding[]> {
  if (guePorts.length === 0) return [];
  try {
    const there = await kernel.fou.list();
    return guePorts.map(({ port, family }) =>
      there.some((entry) => entry.port === port && entry.family === family)
        ? ok('GUE', `UDP port ${port} (${family}) is taken off by the kernel`)
        : ok('GUE', `UDP port ${port} (${family}) will be opened`),
    );
  } catch (error) {
    const mend = error instanceof UnsupportedError ? (error.hint ?? 'modprobe -a fou fou6') : null;
    return [fail('GUE', words(error), mend)];
  }
}

/** Devices and ports that take packets out of tunnels, where the configuration has any. */
export async function tunnelFindings(input: CheckInput): Promise<Finding[]> {
  if (input.state === undefined) return [];
  const requirements = tunnelRequirements(input.state.virtualServices.values());
  const links = await input.kernel.links.links();
  const findings: Finding[] = [];
  for (const kind of requirements.devices) findings.push(await deviceFinding(input, kind, links));
  findings.push(...(await guePortFindings(input, requirements)));
  const present = tunnelInterfaces(requirements).filter((name) => links.some((link) => link.name === name));
  for (const requirement of realserverRequirements([], present)) {
    const found = await settingFinding(input, requirement);
    findings.push({ ...found, message: `${requirement.key.split('/').at(-2) ?? ''}: ${found.message}` });
  }
  return findings;
}

/** The way to each node, by the kernel's own choice; what cannot be reached is a finding. */
async function pathsTo({ kernel, nodeName }: CheckInput, state: ClusterState): Promise<{ paths: NodePath[]; unreachable: Finding[] }> {
  const paths: NodePath[] = [];
  const unreachable: Finding[] = [];
  const families = new Set(state.addresses.map((address) => isIPv6(address)));
  for (const { name, addresses } of state.nodes.values()) {
    if (name === nodeName) continue;
    for (const version6 of families) {
      const address = addresses.find((candidate: Address) => isIPv6(candidate) === version6);
      if (address === undefined) continue;
      try {
        paths.push({ node: name, address, mtu: (await kernel.links.routeTo(address)).mtu });
      } catch (error) {
        unreachable.push(warn('way to node', `${name}: ${words(error)}`, `ip route get ${address}`));
      }
    }
  }
  return { paths, unreachable };
}

const few = (findings: readonly Finding[], rest: (count: number) => Finding): Finding[] =>
  findings.length <= mostTold ? [...findings] : [...findings.slice(0, mostTold), rest(findings.length - mostTold)];

/** Whether a full packet of every VIP reaches every node in one piece. */
export async function pathFindings(input: CheckInput): Promise<Finding[]> {
  const { state, kernel, interfaceName } = input;
  const facing = (await kernel.links.links()).find(({ name }) => name === interfaceName);
  if (state === undefined || facing === undefined || state.nodes.size === 0) return [];
  const { paths, unreachable } = await pathsTo(input, state);
  const narrow = narrowPaths({ virtualServices: state.virtualServices.values(), mtu: state.mtu, facingMtu: facing.mtu, paths });
  const told = narrow.map(({ node, address, mtu, needed, vip }) =>
    warn(
      'path MTU',
      `${node} (${address}): ${mtu} bytes, and full packets for ${vip} are ${needed} with the tunnel: larger segments are cut or refused`,
      `ip route get ${address}`,
    ),
  );
  return [
    ...few(unreachable, (count) => warn('way to node', `and ${count} more nodes without a way`)),
    ...(told.length === 0 ? [ok('path MTU', `${paths.length} ways to nodes take full packets`)] : []),
    ...few(told, (count) => warn('path MTU', `and ${count} more nodes that full packets do not reach`)),
  ];
}
