/** The single checks of `check`: each reads, none changes anything. */
import { access, constants, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { diffNat } from '../diff/nat.ts';
import { NatState } from '../diff/nat-state.ts';
import { effective, realserverRequirements } from '../drivers/sysctls.ts';
import { sysctlCommand } from '../drivers/proc-sysctls.ts';
import type { Kernel } from '../drivers/kernel.ts';
import type { Address } from '../model/cluster.ts';
import { serviceIdAt } from '../native/ipvs-columns.ts';
import { KernelError, UnsupportedError } from '../native/errors.ts';
import type { Mode } from '../modes/options.ts';
import type { Finding } from './check.ts';

export interface CheckInput {
  readonly kernel: Kernel;
  /** `/`, or a test's copy of what is below it. */
  readonly root: string;
  readonly interfaceName: string | undefined;
  readonly vipInterface: string;
  readonly stateDirectory: string;
  /** Where kernel settings are written. */
  readonly sysctlDirectory: string;
  /** VIPs of the configuration, where one was given. */
  readonly vips: readonly Address[];
}

const finding =
  (level: Finding['level']) =>
  (check: string, message: string, mend: string | null = null): Finding => ({ level, check, message, mend });
const ok = finding('ok');
const warn = finding('warn');
const fail = finding('fail');

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Bits of linux/capability.h. */
const capabilities: readonly (readonly [name: string, bit: number, why: string, modes: readonly Mode[]])[] = [
  ['CAP_NET_ADMIN', 12, 'to program the kernel', ['director', 'realserver']],
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

async function writable(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
}

async function stateFolderCheck(folder: string): Promise<Finding> {
  for (let path = folder; ; path = dirname(path)) {
    const there = await access(path).then(
      () => true,
      () => false,
    );
    if (!there && path !== dirname(path)) continue;
    return (await writable(path))
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
  const release = (await readFile(join(root, 'proc/sys/kernel/osrelease'), 'utf8')).trim();
  const modules = join(root, 'lib/modules', release);
  const read = (name: string): Promise<string> => readFile(join(modules, name), 'utf8').catch(() => '');
  const loaded = await access(join(root, 'sys/module/dummy')).then(
    () => true,
    () => false,
  );
  if (loaded || /\/dummy\.ko/.test((await read('modules.dep')) + (await read('modules.builtin')))) {
    return ok('VIP device', `${vipInterface} will be made as a dummy`);
  }
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

async function elsewhereCheck({ kernel, vips, vipInterface }: CheckInput): Promise<Finding[]> {
  if (vips.length === 0) return [];
  const links = new Map((await kernel.links.links()).map(({ index, name }) => [index, name]));
  const wanted = new Set(vips);
  const found = (await kernel.links.addresses()).filter(
    ({ address, interfaceIndex }) => wanted.has(address) && links.get(interfaceIndex) !== vipInterface,
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

async function ipvsChecks({ kernel, vips, vipInterface }: CheckInput): Promise<Finding[]> {
  try {
    const { version, connectionTableSize } = await kernel.ipvs.info();
    const links = await kernel.links.links();
    const device = links.find(({ name }) => name === vipInterface);
    const placed = (await kernel.links.addresses()).filter(({ interfaceIndex }) => interfaceIndex === device?.index);
    const ours = new Set([...vips, ...placed.map(({ address }) => address)]);
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

export async function directorChecks(input: CheckInput): Promise<Finding[]> {
  const findings = await ipvsChecks(input);
  const { interfaceName, kernel } = input;
  if (interfaceName === undefined) return findings;
  const all = await kernel.sysctls.read('net/ipv4/conf/all/arp_ignore');
  const own = await kernel.sysctls.read(`net/ipv4/conf/${interfaceName}/arp_ignore`);
  const ignore = effective(own, all);
  findings.push(
    ignore === '0'
      ? ok('arp_ignore', `0 on ${interfaceName}: this host answers ARP for its VIPs`)
      : fail(
          'arp_ignore',
          `${ignore} on ${interfaceName}: this host does not answer ARP for VIPs on ${input.vipInterface} (strict ARP of kube-proxy?)`,
          zeroCommand('arp_ignore', interfaceName, all),
        ),
  );
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

async function nftablesCheck({ kernel }: CheckInput): Promise<Finding> {
  // The smallest realserver there is, judged by the kernel without effect: every expression we use is in it.
  const service = {
    ...{ key: 'tcp 192.0.2.1:80', address: '192.0.2.1', protocol: 6, port: 80, comment: 'check' },
    pods: [{ address: '192.0.2.2', port: 8080 }],
  };
  const desired = {
    services: new Map([[service.key, service]]),
    addresses: ['192.0.2.1'],
    masquerade: { enabled: true },
    outside: ['lo'],
    segments: new Map([['192.0.2.1', 1360]]),
  };
  try {
    const exists = (await kernel.nftables.tables()).some(({ family, name }) => family === 'ip' && name === 'ravel');
    // Into a table that exists the same objects cannot be created again; that it stands says enough.
    if (!exists) for (const operations of diffNat(new NatState(), desired).transactions) await kernel.nftables.check(operations);
    return ok('nftables', exists ? 'table ip ravel is there' : 'the kernel takes our rules');
  } catch (error) {
    // The check of the capability has said what to do, and no module would help.
    if (KernelError.is(error, 'EPERM')) return fail('nftables', words(error));
    const hint = error instanceof UnsupportedError ? error.hint : undefined;
    return fail('nftables', words(error), hint ?? 'modprobe -a nf_tables nft_chain_nat nft_nat nft_masq nft_numgen nft_ct');
  }
}

async function realserverSysctl(
  { kernel, root, sysctlDirectory }: CheckInput,
  { key, all, accepts, value, why }: ReturnType<typeof realserverRequirements>[number],
): Promise<Finding> {
  const name = key.split('/').pop() ?? key;
  const general = all === undefined ? undefined : await kernel.sysctls.read(all);
  const now = effective(await kernel.sysctls.read(key), general);
  if (accepts(now)) return ok(name, `${now} in effect, ${why}`);
  if (all !== undefined && !accepts(effective(value, general))) {
    return fail(name, `${general ?? '?'} for all interfaces overrides what is needed ${why}`, sysctlCommand(all, '0'));
  }
  const command = sysctlCommand(key, value);
  return (await writable(join(root, sysctlDirectory, key)))
    ? warn(name, `${now} in effect; the agent sets ${value} ${why}`, command)
    : fail(name, `${now} in effect, and ${sysctlDirectory} cannot be written; ${value} is needed ${why}`, command);
}

export async function realserverChecks(input: CheckInput): Promise<Finding[]> {
  const { kernel, interfaceName } = input;
  const findings = [await nftablesCheck(input)];
  const forward = await kernel.sysctls.read('net/ipv4/ip_forward');
  findings.push(
    forward === '1'
      ? ok('ip_forward', '1: packets reach the pods')
      : fail('ip_forward', `${forward ?? '?'}: packets do not reach the pods`, sysctlCommand('net/ipv4/ip_forward', '1')),
  );
  if (interfaceName === undefined) return findings;
  if (interfaceName === input.vipInterface)
    findings.push(fail('VIP device', 'is the interface that faces the segment: it would answer ARP for VIPs'));
  if ((await kernel.sysctls.read(`net/ipv4/conf/${interfaceName}/arp_ignore`)) === undefined) return findings;
  for (const requirement of realserverRequirements([interfaceName], [interfaceName]))
    findings.push(await realserverSysctl(input, requirement));
  return findings;
}
