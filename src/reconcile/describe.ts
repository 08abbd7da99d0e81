/** Operations in the words of `plan`. */
import { protocolName } from '../diff/nat-layout.ts';
import { operationSubject } from '../drivers/ipvs.ts';
import type { SysctlOperation } from '../drivers/sysctls.ts';
import type { IpvsOperation } from '../native/ipvs-types.ts';
import type { LinkOperation } from '../native/link-types.ts';
import type { DataType, Element, NftOperation } from '../native/nftables-types.ts';
import type { PlannedChange } from './plane.ts';

export function describeSysctl({ key, from, to }: SysctlOperation): PlannedChange {
  return { vip: undefined, kind: 'sysctl', op: 'write', text: `${key}: ${from} -> ${to}` };
}

export function describeLink(operation: LinkOperation): PlannedChange {
  if (operation.op === 'addAddress' || operation.op === 'deleteAddress') {
    const text = `${operation.address}/${operation.prefix} on ${operation.interface}`;
    return { vip: operation.address, kind: 'address', op: operation.op, text };
  }
  const { op, ...rest } = operation;
  const { name = '', ...settings } = rest as Record<string, unknown> & { name?: string };
  const words = Object.entries(settings).map(([key, value]) => `${key}=${String(value)}`);
  return { vip: undefined, kind: 'device', op, text: [name, ...words].join(' ') };
}

function ipvsDetails(operation: IpvsOperation): string {
  switch (operation.op) {
    case 'addService':
    case 'setService': {
      const flags = operation.spec.schedulerFlags ?? [];
      return ` scheduler ${operation.spec.scheduler}${flags.length === 0 ? '' : ` flags ${flags.join(',')}`}`;
    }
    case 'addDestination':
    case 'setDestination': {
      const { forward, weight, upperThreshold = 0, lowerThreshold = 0 } = operation.spec;
      const thresholds = upperThreshold === 0 && lowerThreshold === 0 ? '' : ` thresholds ${upperThreshold}/${lowerThreshold}`;
      return ` ${forward} weight ${weight}${thresholds}`;
    }
    case 'deleteService':
    case 'deleteDestination':
      return '';
  }
}

export function describeIpvs(operation: IpvsOperation): PlannedChange {
  const vip = 'address' in operation.service ? operation.service.address : undefined;
  return { vip, kind: 'ipvs', op: operation.op, text: `${operationSubject(operation)}${ipvsDetails(operation)}` };
}

function elementText({ key, value }: Element, types: readonly DataType[]): string {
  const text = key.map((field, at) => (types[at] === 'inet_proto' ? protocolName(Number(field)) : field)).join(' . ');
  if (value === undefined) return text;
  if ('verdict' in value) return `${text} : ${value.verdict}${'chain' in value ? ` ${value.chain}` : ''}`;
  return `${text} : ${value.join(' . ')}`;
}

/** Maps of the realserver that have a VIP as first field of their key. */
const vipSets = new Set(['services', 'endpoints', 'addresses']);

/** One line per element: that is what a person thinks of as a change. */
export function describeNft(operation: NftOperation): PlannedChange[] {
  if ('elements' in operation) {
    return operation.elements.map((element) => ({
      vip: vipSets.has(operation.set.name) ? String(element.key[0]) : undefined,
      kind: 'nftables',
      op: operation.op.replace(/s$/, ''),
      text: `${operation.set.name} ${elementText(element, operation.set.key)}`,
    }));
  }
  const table = `${operation.table.family} ${operation.table.name}`;
  return [{ vip: undefined, kind: 'nftables', op: operation.op, text: nftObject(operation, table) }];
}

/** `table ip ravel`, `chain ip ravel prerouting`: as nft(8) would name it. */
function nftObject(operation: Exclude<NftOperation, { elements: unknown }>, table: string): string {
  if ('rule' in operation) return `rule of chain ${table} ${operation.rule.chain}`;
  if ('set' in operation) return `${operation.set.value === undefined ? 'set' : 'map'} ${table} ${operation.set.name}`;
  if (!('chain' in operation)) return `table ${table}`;
  return typeof operation.chain === 'string' ? `rule of chain ${table} ${operation.chain}` : `chain ${table} ${operation.chain.name}`;
}
