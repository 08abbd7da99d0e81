/** The single checks of `check`: each reads, none changes anything. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ipvsRequirements } from '../desired/ipvs-sysctls.ts';
import { addressProtocol } from '../drivers/ownership.ts';
import { effective, realserverRequirements } from '../drivers/sysctls.ts';
import { sysctlCommand } from '../drivers/proc-sysctls.ts';
import { didYouMean } from '../model/problems.ts';
import { serviceIdAt } from '../native/ipvs-columns.ts';
import { UnsupportedError } from '../native/errors.ts';
import type { Mode } from '../modes/options.ts';
import type { Finding } from './check.ts';
import { fail, hasModule, isThere, isWritable, ok, settingFinding, warn, words, type CheckInput } from './findings.ts';
import { natFindings } from './nat-checks.ts';
import { forwardingFindings, pathFindings, tunnelFindings } from './path-checks.ts';

/** Bits of linux/capability.h. */
const capabilities: readonly (readonly [name: string, bit: number, why: string, modes: readonly Mode[]])[] = [
  ['CAP_NET_ADMIN', 12, 'to program the kernel', ['director', 'bgp', 'realserver']],
  ['CAP_NET_RAW', 13, 'to send gratuitous ARP', ['director']],
];

async function capabilityChecks(root: string, modes: readonly Mode[]): Promise<Finding[]> {
  const status = await readFile(join(root, 'proc/self/status'), 'utf8');
  const effectiveBits = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return capabilities
    .filter(([, , , needed]) => needed.some((mode) => modes.includes(mode)))
    .map(([name, bit, why]) =>
      (effectiveBits >> BigInt(bit)) & 1n
        ? ok('capability', `${name}, ${why}`)
        : fail('capability', `${name} is missing, ${why}`, `sudo ravel-agent …  (in a container: give it ${name})`),
    );
}

async function stateFolderCheck(folder: string): Promise<Finding> {
  for (let path = folder; ; path = dirname(path)) {
    if (!(await isThere(path)) && path !== dirname(path)) continue;
    return (await isWritable(path))
      ? ok('state folder', `${folder} can be written`)
      : fail(
          'state folder',
          `${path} cannot be written; sysctls are not changed without a record of them`,
          `mkdir -p ${folder} && mount -t tmpfs tmpfs ${folder}`,
        );
  }
}

async function vipDeviceCheck({ kernel, root, vipInterface }: CheckInput): Promise<Finding> {
  const device = (await kernel.links.links()).find(({ name }) => name === vipInterface);
  if (device?.kind === 'dummy') return ok('VIP device', `${vipInterface} is a dummy, and ours`);
  if (device !== undefined)
    return warn('VIP device', `${vipInterface} is a ${device.kind ?? 'physical'} device: it is used, and neither changed nor removed`);
  if (await hasModule(root, 'dummy')) return ok('VIP device', `${vipInterface} will be made as a dummy`);
  return fail('VIP device', `${vipInterface} is not there, and this kernel seems to have no dummy devices`, `modprobe dummy`);
}

async function interfaceCheck({ kernel, interfaceName }: CheckInput): Promise<Finding> {
  if (interfaceName === undefined) return warn('interface', 'not checked: give --compute-iface');
  const link = (await kernel.links.links()).find(({ name }) => name === interfaceName);
  if (link === undefined) return fail('interface', `${interfaceName} does not exist`, 'ip link show');
  if (!link.up) return fail('interface', `${interfaceName} is down`, `ip link set ${interfaceName} up`);
  if (!link.running) return warn('interface', `${interfaceName} is up and has no carrier`);
  if (link.mac === '') return warn('interface', `${interfaceName} has no hardware address: nothing can be announced on it`);
  return ok('interface', `${interfaceName} is up, ${link.mac}, MTU ${link.mtu}`);
}

async function elsewhereCheck({ kernel, state, vipInterface }: CheckInput): Promise<Finding[]> {
  const vips = state?.addresses ?? [];
  if (vips.length === 0) return [];
  const links = new Map((await kernel.links.links()).map(({ index, name }) => [index, name]));
  const wanted = new Set(vips);
  const found = (await kernel.links.addresses()).filter(
    ({ address, interfaceIndex, protocol }) =>
      wanted.has(address) && links.get(interfaceIndex) !== vipInterface && protocol !== addressProtocol,
  );
  return found.map(({ address, prefix, interfaceIndex }) => {
    const device = links.get(interfaceIndex) ?? String(interfaceIndex);
    return warn('VIP elsewhere', `${address} is also on ${device}, and not ours there`, `ip addr del ${address}/${prefix} dev ${device}`);
  });
}

export async function machineChecks(input: CheckInput, modes: readonly Mode[]): Promise<Finding[]> {
  return [
    ...(await capabilityChecks(input.root, modes)),
    await stateFolderCheck(join(input.root, input.stateDirectory)),
    await interfaceCheck(input),
    await vipDeviceCheck(input),
    ...(await elsewhereCheck(input)),
  ];
}

async function ipvsChecks({ kernel, state, vipInterface }: CheckInput): Promise<Finding[]> {
  try {
    const { version, connectionTableSize } = await kernel.ipvs.info();
    const links = await kernel.links.links();
    const device = links.find(({ name }) => name === vipInterface);
    const placed = (await kernel.links.addresses()).filter(({ interfaceIndex }) => interfaceIndex === device?.index);
    const ours = new Set([...(state?.addresses ?? []), ...placed.map(({ address }) => address)]);
    const snapshot = await kernel.ipvs.snapshot();
    const foreign = Array.from({ length: snapshot.services.count }, (_, row) => serviceIdAt(snapshot, row)).filter(
      (id) => !('address' in id) || !ours.has(id.address),
    );
    const proxy = links.some(({ name }) => name === 'kube-ipvs0');
    return [
      ok('IPVS', `version ${version}, connection table of ${connectionTableSize}`),
      foreign.length === 0 && !proxy
        ? ok('IPVS users', 'nobody else has services there')
        : warn(
            'IPVS users',
            `${foreign.length} services of others${proxy ? ' (kube-proxy in ipvs mode runs here)' : ''}; they are left alone`,
          ),
    ];
  } catch (error) {
    const mend = error instanceof UnsupportedError ? (error.hint ?? 'modprobe ip_vs') : null;
    return [fail('IPVS', words(error), mend)];
  }
}

/** How a setting that the kernel takes as the larger of two is brought to 0. */
function zeroCommand(name: string, interfaceName: string, all: string | undefined): string {
  const of = (which: string): string => sysctlCommand(`net/ipv4/conf/${which}/${name}`, '0');
  return all === '0' || all === undefined ? of(interfaceName) : `${of('all')}; ${of(interfaceName)}`;
}

/** IPv6 VIPs are addresses of the announcing interface while they are announced. */
async function neighbourFindings({ kernel, state, interfaceName, routed }: CheckInput): Promise<Finding[]> {
  if (routed || interfaceName === undefined || !(state?.addresses.some((address) => address.includes(':')) ?? false)) return [];
  const key = `net/ipv6/conf/${interfaceName}/disable_ipv6`;
  const disabled = await kernel.sysctls.read(key);
  if (disabled === '0') return [ok('IPv6', `enabled on ${interfaceName}: this host answers for its VIPs`)];
  return disabled === undefined
    ? [fail('IPv6', `this kernel has none on ${interfaceName}, and there are IPv6 VIPs`)]
    : [fail('IPv6', `disabled on ${interfaceName}: IPv6 VIPs cannot be announced there`, sysctlCommand(key, '0'))];
}

/** One of several directors with the same VIPs is found by routes, and must not be found by ARP. */
async function silenceFindings(input: CheckInput, interfaceName: string): Promise<Finding[]> {
  if ((await input.kernel.sysctls.read(`net/ipv4/conf/${interfaceName}/arp_ignore`)) === undefined) return [];
  const findings: Finding[] = [];
  for (const requirement of realserverRequirements([interfaceName], [])) findings.push(await settingFinding(input, requirement));
  return findings;
}

async function answerFinding({ kernel, vipInterface }: CheckInput, interfaceName: string): Promise<Finding> {
  const all = await kernel.sysctls.read('net/ipv4/conf/all/arp_ignore');
  const own = await kernel.sysctls.read(`net/ipv4/conf/${interfaceName}/arp_ignore`);
  const ignore = effective(own, all);
  return ignore === '0'
    ? ok('arp_ignore', `0 on ${interfaceName}: this host answers ARP for its VIPs`)
    : fail(
        'arp_ignore',
        `${ignore} on ${interfaceName}: this host does not answer ARP for VIPs on ${vipInterface} (strict ARP of kube-proxy?)`,
        zeroCommand('arp_ignore', interfaceName, all),
      );
}

export async function directorChecks(input: CheckInput): Promise<Finding[]> {
  const findings = [...(await ipvsChecks(input)), ...(await ipvsSysctlFindings(input)), ...(await translationFindings(input))];
  findings.push(...(await pathFindings(input)), ...(await neighbourFindings(input)));
  const { interfaceName, kernel } = input;
  if (interfaceName === undefined) return findings;
  findings.push(...(input.routed ? await silenceFindings(input, interfaceName) : [await answerFinding(input, interfaceName)]));
  if (input.colocated) return findings;
  const filter = effective(
    await kernel.sysctls.read(`net/ipv4/conf/${interfaceName}/rp_filter`),
    await kernel.sysctls.read('net/ipv4/conf/all/rp_filter'),
  );
  findings.push(
    filter === '1'
      ? warn(
          'rp_filter',
          `1 on ${interfaceName}: clients that are routed by another interface are not heard`,
          sysctlCommand(`net/ipv4/conf/${interfaceName}/rp_filter`, '2'),
        )
      : ok('rp_filter', `${filter} on ${interfaceName}`),
  );
  return findings;
}

/** Names asked for by flag that this kernel does not have. */
async function ipvsSysctlFindings({ kernel, ipvsSysctls }: CheckInput): Promise<Finding[]> {
  if (ipvsSysctls.size === 0) return [];
  const known = await kernel.sysctls.names('net/ipv4/vs');
  // Without the module there are none, and that has been said.
  if (known.length === 0) return [];
  return [...ipvsSysctls.keys()].map((name) =>
    known.includes(name)
      ? ok('--ipvs-sysctl', `${name} is there`)
      : warn('--ipvs-sysctl', `this kernel has no net/ipv4/vs/${name}${didYouMean(name, known)}`),
  );
}

/** What a director needs beyond IPVS when it translates: to its own pods, or for clients of masqueraded services. */
async function translationFindings(input: CheckInput): Promise<Finding[]> {
  const masquerades = [...(input.state?.virtualServices.values() ?? [])].some(({ forward }) => forward === 'masquerade');
  if (!input.colocated && !masquerades) return [];
  const findings = await natFindings(input);
  const tracking = ipvsRequirements({ asked: input.ipvsSysctls, defaults: false, conntrack: true }).find(({ key }) =>
    key.endsWith('/conntrack'),
  );
  if (tracking !== undefined) findings.push(await settingFinding(input, tracking));
  findings.push(...(await forwardingFindings(input)));
  if (input.colocated && input.interfaceName !== undefined) {
    for (const requirement of realserverRequirements([], [input.interfaceName])) findings.push(await settingFinding(input, requirement));
    findings.push(...(await tunnelFindings(input)));
  }
  return findings;
}

export async function realserverChecks(input: CheckInput): Promise<Finding[]> {
  const { kernel, interfaceName } = input;
  const findings = [...(await natFindings(input)), ...(await forwardingFindings(input)), ...(await tunnelFindings(input))];
  if (interfaceName === undefined) return findings;
  if (interfaceName === input.vipInterface)
    findings.push(fail('VIP device', 'is the interface that faces the segment: it would answer ARP for VIPs'));
  if ((await kernel.sysctls.read(`net/ipv4/conf/${interfaceName}/arp_ignore`)) === undefined) return findings;
  for (const requirement of realserverRequirements([interfaceName], [interfaceName]))
    findings.push(await settingFinding(input, requirement));
  return findings;
}
