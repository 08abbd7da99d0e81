/** Operations in the syntax of nft(8), one line each: for logs, plans and error messages, and what tests give to `nft -f`. */
import { elementAt } from './nftables-columns.ts';
import type {
  Chain,
  DataType,
  Element,
  FieldValue,
  KeyPart,
  NftOperation,
  Rule,
  SetSpec,
  Statement,
  TableId,
  Verdict,
} from './nftables-types.ts';
import { PROTOCOL_NAMES } from './nftables-vocabulary.ts';

/** Elements shown of one operation, when the caller sets no limit of its own. */
export interface TextOptions {
  /** More elements than this are counted instead of shown. Default: all are shown. */
  readonly maxElements?: number;
}

const protocol = (number: number): string => PROTOCOL_NAMES.get(number) ?? String(number);

/** nft has no escape inside quotes. */
const quoted = (text: string): string => `"${text.replaceAll('"', "'")}"`;

const hex = (value: number): string => `0x${value.toString(16)}`;

function field(type: DataType, value: FieldValue): string {
  if (type === 'inet_proto') return protocol(Number(value));
  return type === 'mark' ? hex(Number(value)) : String(value);
}

function fields(types: readonly DataType[], values: readonly FieldValue[]): string {
  return values.map((value, index) => field(types[index] ?? 'slot', value)).join(' . ');
}

function verdict(value: Verdict): string {
  return 'chain' in value ? `${value.verdict} ${value.chain}` : value.verdict;
}

/** One element as it stands between the braces. */
export function elementText(set: SetSpec, { key, value, comment }: Element, keyOnly = false): string {
  let text = fields(set.key, key);
  if (keyOnly) return text;
  if (comment !== undefined && comment !== '') text += ` comment ${quoted(comment)}`;
  if (value === undefined) return text;
  return `${text} : ${'verdict' in value ? verdict(value) : fields(set.value === 'verdict' ? [] : (set.value ?? []), value)}`;
}

function keyText(key: readonly KeyPart[]): string {
  return key.map((part) => (typeof part === 'string' ? part : `numgen random mod ${part.modulus}`)).join(' . ');
}

/** The family word of a dnat: that of the addresses in its key, else the table's. */
function dnatFamily(key: readonly KeyPart[], table: TableId): string {
  const address = key.find((part) => typeof part === 'string' && /^ip6? /.test(part));
  return typeof address === 'string' ? (address.split(' ')[0] ?? 'ip') : table.family;
}

function statementText(statement: Statement, table: TableId): string {
  switch (statement.kind) {
    case 'vmap':
      return `${keyText(statement.key)} vmap @${statement.map}`;
    case 'inSet':
      return `${keyText(statement.key)} ${statement.inverted === true ? '!= ' : ''}@${statement.set}`;
    case 'protocol':
      return `meta l4proto ${protocol(statement.protocol)}`;
    case 'source':
    case 'destination': {
      const { address, prefix } = statement;
      const six = address.includes(':');
      const side = statement.kind === 'source' ? 'saddr' : 'daddr';
      const suffix = prefix === (six ? 128 : 32) ? '' : `/${prefix}`;
      return `${six ? 'ip6' : 'ip'} ${side} ${statement.inverted === true ? '!= ' : ''}${address}${suffix}`;
    }
    case 'dnatMap':
      return `dnat ${dnatFamily(statement.key, table)} to ${keyText(statement.key)} map @${statement.map}`;
    case 'markOr':
      return `meta mark set meta mark | ${hex(statement.bits)}`;
    case 'markIs':
      return statement.mask === 0xffffffff
        ? `meta mark ${hex(statement.value)}`
        : `meta mark & ${hex(statement.mask)} == ${hex(statement.value)}`;
    case 'masquerade':
    case 'counter':
      return statement.kind;
    case 'inputInterface':
      return `iifname ${quoted(statement.name)}`;
    case 'destinationTranslated':
      return 'ct status dnat';
    case 'tcpSyn':
      return 'tcp flags syn';
    case 'maxSegment':
      return `tcp option maxseg size set ${statement.bytes}`;
    case 'verdict':
      return verdict(statement.verdict);
  }
}

function ruleText({ statements, comment }: Rule, table: TableId): string {
  const words = statements.map((statement) => statementText(statement, table));
  if (comment !== undefined && comment !== '') words.push(`comment ${quoted(comment)}`);
  return words.join(' ');
}

const NAMED: Readonly<Record<DataType, string>> = {
  ipv4_addr: 'ipv4_addr',
  ipv6_addr: 'ipv6_addr',
  inet_proto: 'inet_proto',
  inet_service: 'inet_service',
  mark: 'mark',
  slot: 'numgen random mod 2',
};

/** What nft prints after `typeof`: a slot has no type name. */
function expression(type: DataType, six: boolean): string {
  switch (type) {
    case 'ipv4_addr':
      return 'ip daddr';
    case 'ipv6_addr':
      return 'ip6 daddr';
    case 'inet_proto':
      return six ? 'ip6 nexthdr' : 'ip protocol';
    case 'inet_service':
      return 'th dport';
    case 'mark':
      return 'meta mark';
    case 'slot':
      return NAMED.slot;
  }
}

function setText(set: SetSpec): string {
  const value = set.value === undefined ? [] : [set.value];
  const columns = [set.key, ...value];
  const byExpression = columns.some((types) => types !== 'verdict' && types.includes('slot'));
  const words = columns.map((types) => {
    if (types === 'verdict') return 'verdict';
    const six = types.includes('ipv6_addr');
    return types.map((type) => (byExpression ? expression(type, six) : NAMED[type])).join(' . ');
  });
  return `{ ${byExpression ? 'typeof' : 'type'} ${words.join(' : ')};${set.counter === true ? ' counter;' : ''} }`;
}

function chainText({ hook }: Chain): string {
  return hook === undefined ? '' : ` { type ${hook.type} hook ${hook.hook} priority ${hook.priority}; }`;
}

/** `add` of `addChain`. */
const verbOf = (op: NftOperation['op']): string => /^[a-z]+/.exec(op)?.[0] ?? op;

const setWord = (set: SetSpec): string => (set.value === undefined ? 'set' : 'map');

function elementsText(
  verb: string,
  at: string,
  set: SetSpec,
  count: number,
  element: (row: number) => Element,
  { maxElements = Infinity }: TextOptions,
): string {
  const prefix = `${verb} element ${at} ${set.name}`;
  if (count > maxElements) return `${prefix} { ${count} elements }`;
  return `${prefix} { ${Array.from({ length: count }, (_, row) => elementText(set, element(row), verb === 'delete')).join(', ')} }`;
}

/** One operation as one line. */
export function operationText(operation: NftOperation, options: TextOptions = {}): string {
  const { table } = operation;
  const at = `${table.family} ${table.name}`;
  const verb = verbOf(operation.op);
  switch (operation.op) {
    case 'addTable':
    case 'createTable':
    case 'deleteTable':
    case 'flushTable':
      return `${verb} table ${at}`;
    case 'addChain':
    case 'createChain':
      return `${verb} chain ${at} ${operation.chain.name}${chainText(operation.chain)}`;
    case 'deleteChain':
    case 'flushChain':
      return `${verb} chain ${at} ${operation.chain.name}`;
    case 'addRule':
    case 'insertRule':
      return `${verb} rule ${at} ${operation.rule.chain} ${ruleText(operation.rule, table)}`;
    case 'replaceRule':
      return `replace rule ${at} ${operation.rule.chain} handle ${operation.handle} ${ruleText(operation.rule, table)}`;
    case 'deleteRule':
      return `delete rule ${at} ${operation.chain} handle ${operation.handle}`;
    case 'addSet':
    case 'createSet':
      return `${verb} ${setWord(operation.set)} ${at} ${operation.set.name} ${setText(operation.set)}`;
    case 'deleteSet':
    case 'flushSet':
      return `${verb} ${setWord(operation.set)} ${at} ${operation.set.name}`;
    case 'addElements':
    case 'createElements':
    case 'deleteElements': {
      const { set, elements } = operation;
      return elementsText(verb, at, set, elements.length, (row) => elements[row] as Element, options);
    }
    case 'addElementBatch':
    case 'createElementBatch':
    case 'deleteElementBatch': {
      const { set, batch } = operation;
      return elementsText(verb, at, set, batch.count, (row) => elementAt(set, batch, row), options);
    }
  }
}

/** All operations, one line each, as `nft -f` takes them. Operations that set no element give no line. */
export function toText(operations: readonly NftOperation[], options: TextOptions = {}): string {
  const empty = (operation: NftOperation): boolean =>
    ('elements' in operation && operation.elements.length === 0) || ('batch' in operation && operation.batch.count === 0);
  return operations.flatMap((operation) => (empty(operation) ? [] : [`${operationText(operation, options)}\n`])).join('');
}

/** The subject of an error about one element: `add element ip ravel services 1.2.3.4 . tcp . 80`. */
export function elementSubject(operation: NftOperation, row: number): string {
  const { table } = operation;
  const at = `${verbOf(operation.op)} element ${table.family} ${table.name}`;
  if ('elements' in operation && operation.elements[row] !== undefined) {
    return `${at} ${operation.set.name} ${elementText(operation.set, operation.elements[row], true)}`;
  }
  if ('batch' in operation && row < operation.batch.count) {
    return `${at} ${operation.set.name} ${fields(operation.set.key, elementAt(operation.set, operation.batch, row).key)}`;
  }
  return operationText(operation, { maxElements: 1 });
}
