/** A program as the bytes that native/iptables_program.h describes, with every value checked at its path. */
import { writeAddress } from './address-bytes.ts';
import { show } from './nftables-elements.ts';
import { ProgramWriter } from './nftables-program.ts';
import type {
  IptablesChain,
  IptablesFamily,
  IptablesMark,
  IptablesPrefix,
  IptablesProgram,
  IptablesRule,
  IptablesTarget,
} from './iptables-types.ts';

/** XT_EXTENSION_MAXNAMELEN less its NUL. */
const NAME_LENGTH = 28;
/** XT_MAX_COMMENT_LEN less its NUL. */
const COMMENT_BYTES = 255;
/** Probability 1 (`XT_STATISTIC`): the kernel compares 31 random bits. */
const CERTAIN = 2 ** 31;

const BUILTIN_CHAINS: readonly string[] = ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING', 'FORWARD'];
/** A chain with such a name could not be jumped to, or would shadow a target in what iptables prints. */
const TARGETS: readonly string[] = [
  ...['ACCEPT', 'DROP', 'QUEUE', 'RETURN', 'DNAT', 'SNAT', 'MASQUERADE', 'REDIRECT', 'NETMAP', 'MARK', 'CONNMARK'],
  ...['LOG', 'NFLOG', 'REJECT', 'CT', 'TEE', 'TRACE', 'SET', 'NOTRACK', 'TPROXY', 'TCPMSS'],
];
/** Chains with a hyphen after these words belong to kube-proxy, network plugins and container engines. */
const OTHERS: readonly string[] = ['KUBE', 'cali', 'CNI', 'FLANNEL', 'CILIUM', 'DOCKER', 'NETAVARK', 'LIBVIRT', 'ufw'];

/** IPPROTO numbers with ports that a rule can match. */
const PORT_PROTOCOLS = new Set([6, 17, 132]);

/** enum RuleField. */
const FIELD = { source: 1, destination: 2, protocol: 4, port: 8, comment: 16, probability: 32, mark: 64, opening: 128 } as const;
/** enum TargetKind. */
const TARGET_KIND = { jump: 0, setMark: 1, dnat: 2, masquerade: 3 } as const;

/** TypeError or RangeError unless chains may be told apart by the prefix and are nobody else's. */
export function checkChainPrefix(prefix: unknown): asserts prefix is string {
  if (typeof prefix !== 'string') throw new TypeError(`chainPrefix: expected a string, got ${show(prefix)}`);
  if (!/^[A-Za-z][A-Za-z0-9_]{0,26}$/.test(prefix)) {
    throw new RangeError(`chainPrefix: expected a letter, then letters, digits or _, got ${show(prefix)}`);
  }
  if ([...BUILTIN_CHAINS, ...TARGETS, ...OTHERS].includes(prefix)) {
    throw new RangeError(`chainPrefix: ${prefix} is the name of a chain, a target or a program that is not ours`);
  }
}

/** Writes one program. Mistakes are thrown as TypeError or RangeError that begin with the path. */
class Encoder {
  readonly #writer = new ProgramWriter();
  readonly #family: IptablesFamily;
  readonly #prefix: string;
  readonly #chains: ReadonlySet<string>;

  constructor(family: IptablesFamily, prefix: string, program: IptablesProgram) {
    this.#family = family;
    this.#prefix = prefix;
    if (!Array.isArray(program.chains)) throw new TypeError(`chains: expected an array, got ${show(program.chains)}`);
    if (!Array.isArray(program.jumps)) throw new TypeError(`jumps: expected an array, got ${show(program.jumps)}`);
    const names = new Set<string>();
    for (const [index, chain] of program.chains.entries()) {
      const { name } = object(chain as IptablesChain, `chains[${index}]`);
      this.#checkName(name, `chains[${index}].name`);
      if (names.has(name)) throw new RangeError(`chains[${index}].name: ${name} is there already`);
      names.add(name);
    }
    this.#chains = names;
  }

  encode({ jumps, chains }: IptablesProgram): Uint8Array {
    const writer = this.#writer;
    writer.string(this.#prefix);
    writer.u32(jumps.length);
    const seen = new Set<string>();
    for (const [index, jump] of jumps.entries()) {
      const { from, to } = object(jump, `jumps[${index}]`);
      if (!BUILTIN_CHAINS.slice(0, 4).includes(from)) {
        throw new RangeError(`jumps[${index}].from: expected a chain of the kernel in the nat table, got ${show(from)}`);
      }
      this.#checkTarget(to, `jumps[${index}].to`);
      if (seen.has(`${from} ${to}`)) throw new RangeError(`jumps[${index}]: ${from} to ${to} is there already`);
      seen.add(`${from} ${to}`);
      writer.string(from);
      writer.string(to);
    }
    writer.u32(chains.length);
    for (const [index, { name, rules }] of chains.entries()) {
      if (!Array.isArray(rules)) throw new TypeError(`chains[${index}].rules: expected an array, got ${show(rules)}`);
      writer.string(name);
      writer.u32(rules.length);
      for (let k = 0; k < rules.length; k++) {
        try {
          this.#rule(rules[k] as IptablesRule);
        } catch (error) {
          // The path is put together only when it is needed: this is the inner loop.
          throw located(error, `chains[${index}].rules[${k}]`);
        }
      }
    }
    return writer.bytes();
  }

  #checkName(name: unknown, path: string): asserts name is string {
    if (typeof name !== 'string') throw new TypeError(`${path}: expected a string, got ${show(name)}`);
    const rest = name.slice(this.#prefix.length);
    if (!name.startsWith(this.#prefix) || (rest !== '' && !rest.startsWith('-'))) {
      throw new RangeError(`${path}: expected ${this.#prefix} or ${this.#prefix}-…, got ${show(name)}`);
    }
    // Spaces and quotes would break what iptables-save prints.
    if (name.length > NAME_LENGTH || !/^[A-Za-z0-9_.:-]+$/.test(name)) {
      throw new RangeError(`${path}: expected at most ${NAME_LENGTH} letters, digits, _ . : or -, got ${show(name)}`);
    }
  }

  #checkTarget(chain: unknown, path: string): asserts chain is string {
    if (typeof chain !== 'string') throw new TypeError(`${path}: expected a string, got ${show(chain)}`);
    if (!this.#chains.has(chain)) throw new RangeError(`${path}: no chain ${show(chain)} in the program`);
  }

  #rule(rule: IptablesRule): void {
    const { source, destination, protocol, port, mark, comment, probability, opening, target } = object(rule, '');
    const writer = this.#writer;
    writer.u16(
      (source === undefined ? 0 : FIELD.source) |
        (destination === undefined ? 0 : FIELD.destination) |
        (protocol === undefined ? 0 : FIELD.protocol) |
        (port === undefined ? 0 : FIELD.port) |
        (comment === undefined ? 0 : FIELD.comment) |
        (probability === undefined ? 0 : FIELD.probability) |
        (mark === undefined ? 0 : FIELD.mark) |
        (opening === true ? FIELD.opening : 0),
    );
    if (source !== undefined) this.#writePrefix(source, 'source');
    if (destination !== undefined) this.#writePrefix(destination, 'destination');
    if (protocol !== undefined) writer.u8(integer(protocol, 1, 255, 'protocol'));
    if (port !== undefined) {
      if (!PORT_PROTOCOLS.has(protocol as number)) throw new RangeError('port: needs protocol 6 (TCP), 17 (UDP) or 132 (SCTP)');
      writer.u16(integer(port, 0, 0xffff, 'port'));
    }
    if (opening === true && (protocol !== 6 || port === undefined)) throw new RangeError('opening: needs protocol 6 (TCP) and a port');
    if (comment !== undefined) this.#comment(comment);
    if (probability !== undefined) this.#probability(probability);
    if (mark !== undefined) this.#mark(mark, 'mark');
    this.#target(target, protocol);
  }

  #writePrefix(prefix: IptablesPrefix, path: string): void {
    const { address, length, inverted } = object(prefix, path);
    this.#address(address, path);
    this.#writer.u8(integer(length, 1, this.#family === 'ip' ? 32 : 128, `${path}.length`));
    this.#writer.u8(inverted === true ? 1 : 0);
  }

  #address(address: unknown, path: string): void {
    const [family, size] = this.#family === 'ip' ? [4, 4] : [6, 16];
    const at = this.#writer.reserve(size);
    if (typeof address === 'string' && writeAddress(address, this.#writer.buffer, at) === family) return;
    throw new RangeError(`${path}.address: expected an IPv${family} address, got ${show(address)}`);
  }

  #comment(comment: unknown): void {
    if (typeof comment !== 'string') throw new TypeError(`comment: expected a string, got ${show(comment)}`);
    if (comment === '' || comment.length > COMMENT_BYTES || Buffer.byteLength(comment) > COMMENT_BYTES) {
      throw new RangeError(`comment: expected 1 to ${COMMENT_BYTES} bytes, got ${show(comment)}`);
    }
    // A line break in a comment makes iptables-save print what iptables-restore takes for another command.
    if (/[\0-\x1f\x7f]/.test(comment)) throw new RangeError(`comment: has a control character: ${show(comment)}`);
    this.#writer.string(comment);
  }

  #probability(probability: unknown): void {
    const bits = typeof probability === 'number' ? Math.round(probability * CERTAIN) : Number.NaN;
    if (!(bits >= 1 && bits <= CERTAIN)) throw new RangeError(`probability: expected above 0 and at most 1, got ${show(probability)}`);
    this.#writer.u32(bits);
  }

  #mark(mark: IptablesMark, path: string): void {
    const { value, mask } = object(mark, path);
    this.#writer.u32(integer(value, 0, 0xffffffff, `${path}.value`));
    this.#writer.u32(integer(mask, 0, 0xffffffff, `${path}.mask`));
  }

  #target(target: IptablesTarget, protocol: number | undefined): void {
    const { kind } = object(target, 'target');
    const code = Object.hasOwn(TARGET_KIND, kind) ? TARGET_KIND[kind] : undefined;
    if (code === undefined) throw new RangeError(`target.kind: unknown target ${show(kind)}`);
    this.#writer.u8(code);
    switch (target.kind) {
      case 'jump':
        this.#checkTarget(target.chain, 'target.chain');
        this.#writer.string(target.chain);
        return;
      case 'setMark':
        this.#mark(target, 'target');
        return;
      case 'dnat':
        if (target.port !== undefined && !PORT_PROTOCOLS.has(protocol as number)) {
          throw new RangeError('target.port: needs protocol 6 (TCP), 17 (UDP) or 132 (SCTP)');
        }
        this.#address(target.address, 'target');
        this.#writer.u16(target.port === undefined ? 0 : integer(target.port, 1, 0xffff, 'target.port'));
        return;
      case 'masquerade':
        return;
    }
  }
}

function object<T>(value: T, path: string): T & object {
  if (typeof value === 'object' && value !== null) return value;
  throw new TypeError(`${path === '' ? '' : `${path}: `}expected an object, got ${show(value)}`);
}

function integer(value: unknown, first: number, last: number, path: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= first && value <= last) return value;
  throw new RangeError(`${path}: expected an integer from ${first} to ${last}, got ${show(value)}`);
}

/** The same error with a path before its words. */
function located(error: unknown, path: string): unknown {
  if (!(error instanceof TypeError) && !(error instanceof RangeError)) return error;
  const text = `${path}${error.message.startsWith('expected') ? ': ' : '.'}${error.message}`;
  return error instanceof TypeError ? new TypeError(text) : new RangeError(text);
}

export function encodeIptables(family: IptablesFamily, prefix: string, program: IptablesProgram): Uint8Array {
  return new Encoder(family, prefix, object(program, 'program')).encode(program);
}
