/** nftables operations in the words of `plan`. */
import { protocolName } from '../diff/nat-layout.ts';
import type { DataType, Element, NftOperation } from '../native/nftables-types.ts';
import type { NatChangeText } from './nat-backend.ts';

function elementText({ key, value }: Element, types: readonly DataType[]): string {
  const text = key.map((field, at) => (types[at] === 'inet_proto' ? protocolName(Number(field)) : field)).join(' . ');
  if (value === undefined) return text;
  if ('verdict' in value) return `${text} : ${value.verdict}${'chain' in value ? ` ${value.chain}` : ''}`;
  return `${text} : ${value.join(' . ')}`;
}

/** Sets and maps that have a VIP as first field of their key. */
const vipSets = /^(?:services|endpoints|inside|inside-endpoints|addresses|masqueraded|segments-\d+)$/;

/** One line per element: that is what a person thinks of as a change. */
export function nftChanges(operation: NftOperation): NatChangeText[] {
  if ('elements' in operation) {
    return operation.elements.map((element) => ({
      vip: vipSets.test(operation.set.name) ? String(element.key[0]) : undefined,
      op: operation.op.replace(/s$/, ''),
      text: `${operation.set.name} ${elementText(element, operation.set.key)}`,
    }));
  }
  const table = `${operation.table.family} ${operation.table.name}`;
  return [{ vip: undefined, op: operation.op, text: nftObject(operation, table) }];
}

/** `table ip ravel`, `chain ip ravel prerouting`: as nft(8) would name it. */
function nftObject(operation: Exclude<NftOperation, { elements: unknown }>, table: string): string {
  if ('rule' in operation) return `rule of chain ${table} ${operation.rule.chain}`;
  if ('set' in operation) return `${operation.set.value === undefined ? 'set' : 'map'} ${table} ${operation.set.name}`;
  if (!('chain' in operation)) return `table ${table}`;
  return typeof operation.chain === 'string' ? `rule of chain ${table} ${operation.chain}` : `chain ${table} ${operation.chain.name}`;
}
