/** Rules in the words of iptables-save: for people, and equal exactly when the rules are. */
import type { IptablesMark, IptablesPrefix, IptablesRule, IptablesTarget } from '../native/iptables-types.ts';
import { protocolName } from './nat-layout.ts';

const prefixText = (option: string, { address, length, inverted }: IptablesPrefix): string =>
  `${inverted === true ? '! ' : ''}${option} ${address}/${length}`;

const markText = ({ value, mask }: IptablesMark): string => `0x${value.toString(16)}/0x${mask.toString(16)}`;

/** xtables_save prints a match with every bit as the number alone, a target always in full. */
const markMatchText = ({ value, mask }: IptablesMark): string =>
  mask === 0xffffffff ? `0x${value.toString(16)}` : markText({ value, mask });

/** The kernel keeps 31 bits; iptables prints 11 decimals of them. */
const probabilityText = (probability: number): string => (Math.round(probability * 2 ** 31) / 2 ** 31).toFixed(11);

function targetText(target: IptablesTarget, family: 4 | 6): string {
  switch (target.kind) {
    case 'jump':
      return target.chain;
    case 'setMark':
      return `MARK --set-xmark ${markText(target)}`;
    case 'dnat': {
      if (target.port === undefined) return `DNAT --to-destination ${target.address}`;
      return `DNAT --to-destination ${family === 6 ? `[${target.address}]` : target.address}:${target.port}`;
    }
    case 'masquerade':
      return 'MASQUERADE';
  }
}

/** As `iptables-save` and `ip6tables-save` print the rule, without `-A` and the chain. Prefixes have no host bits. */
export function iptablesRuleText(rule: IptablesRule): string {
  const { source, destination, protocol, port, mark, comment, probability, opening, target } = rule;
  const words: string[] = [];
  if (source !== undefined) words.push(prefixText('-s', source));
  if (destination !== undefined) words.push(prefixText('-d', destination));
  if (protocol !== undefined) words.push(`-p ${protocolName(protocol)}`);
  if (port !== undefined && protocol !== undefined) words.push(`-m ${protocolName(protocol)} --dport ${port}`);
  if (opening === true) words.push('--tcp-flags FIN,SYN,RST,ACK SYN');
  if (mark !== undefined) words.push(`-m mark --mark ${markMatchText(mark)}`);
  if (comment !== undefined) words.push(`-m comment --comment ${quoted(comment)}`);
  if (probability !== undefined) words.push(`-m statistic --mode random --probability ${probabilityText(probability)}`);
  const family = target.kind === 'dnat' && target.address.includes(':') ? 6 : 4;
  words.push(`-j ${targetText(target, family)}`);
  return words.join(' ');
}

/** xtables_save_string(): quotes around everything that is more than letters, digits, _ and -. */
function quoted(text: string): string {
  return /^[A-Za-z0-9_-]+$/.test(text) ? text : `"${text.replace(/["'\\]/g, '\\$&')}"`;
}
