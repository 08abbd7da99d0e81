/** Brings the neighbours of the daemon to what is wanted, those of ours only. */
import { createHash } from 'node:crypto';
import type { BgpPeer } from '../../model/bgp.ts';
import type { Address } from '../../model/cluster.ts';
import { DaemonError, type BgpDaemon, type PeerRequest, type PeerStatus } from './daemon.ts';
import { diffPeers, type PeerDiff } from './peers.ts';
import type { SpeakerLog } from './speaker-options.ts';

export interface NeighboursOptions {
  /** Content of a file, whole. */
  readonly readPassword: (file: string) => Promise<Buffer>;
  readonly log: SpeakerLog;
}

/** TCP_MD5SIG_MAXKEYLEN of linux/tcp.h. */
const longestPassword = 80;

type Password = { readonly text: string | undefined } | { readonly problem: string };

export class Neighbours {
  readonly #options: NeighboursOptions;
  /** Of the passwords that the daemon was given; what is not in here was there before. */
  readonly #digests = new Map<Address, string>();
  /** What was tried about a difference that the daemon shows still. */
  readonly #tried = new Map<Address, { readonly differs: string; readonly times: number }>();
  #noBfd = false;
  #problems: readonly string[] = [];

  constructor(options: NeighboursOptions) {
    this.#options = options;
  }

  /** What could not be set up, in words. */
  get problems(): readonly string[] {
    return this.#problems;
  }

  /** Another daemon may be there. */
  connected(major: 3 | 4): void {
    this.#noBfd = major === 3;
    this.#problems = [];
    this.reconfigured();
  }

  /** Other neighbours may be wanted. */
  reconfigured(): void {
    this.#tried.clear();
  }

  /** Whether something differs, passwords left aside. */
  differ(wanted: readonly BgpPeer[] | undefined, listed: readonly PeerStatus[]): boolean {
    if (wanted === undefined) return false;
    const diff = diffPeers(wanted, listed, { bfd: !this.#noBfd, passwordMatches: () => true });
    return diff.add.length + diff.update.length + diff.delete.length + diff.foreign.length > 0;
  }

  /**
   * Reads passwords and makes the changes.
   * @returns how many; when there were any, the neighbours are to be listed again
   * @throws DaemonError when the daemon is lost; what it refuses is in {@link problems}
   */
  async manage(daemon: BgpDaemon, wanted: readonly BgpPeer[] | undefined, listed: readonly PeerStatus[]): Promise<number> {
    if (wanted === undefined) {
      this.#problems = [];
      return 0;
    }
    const passwords = await this.#passwords(wanted);
    return this.#apply(daemon, this.#diff(wanted, listed, passwords, !this.#noBfd), wanted, passwords);
  }

  /** What {@link manage} would change in a daemon of this version. Reads passwords only. */
  async diff(wanted: readonly BgpPeer[], listed: readonly PeerStatus[], major: 3 | 4): Promise<PeerDiff> {
    return this.#diff(wanted, listed, await this.#passwords(wanted), major !== 3);
  }

  #diff(wanted: readonly BgpPeer[], listed: readonly PeerStatus[], passwords: ReadonlyMap<Address, Password>, bfd: boolean): PeerDiff {
    return diffPeers(wanted, listed, { bfd, passwordMatches: (peer, status) => this.#matches(passwords.get(peer.address), status) });
  }

  async #passwords(wanted: readonly BgpPeer[]): Promise<ReadonlyMap<Address, Password>> {
    const passwords = new Map<Address, Password>();
    for (const peer of wanted) if (!passwords.has(peer.address)) passwords.set(peer.address, await this.#password(peer));
    return passwords;
  }

  async #apply(daemon: BgpDaemon, diff: PeerDiff, wanted: readonly BgpPeer[], passwords: ReadonlyMap<Address, Password>): Promise<number> {
    const problems = [...passwords.values()].flatMap((password) => ('problem' in password ? [password.problem] : []));
    for (const address of diff.foreign) problems.push(`neighbour ${address} was set up by somebody else, and is left as it is`);
    const changes: [Address, () => Promise<boolean>][] = diff.delete.map((address) => [address, () => this.#delete(daemon, address)]);
    for (const { peer, differs } of diff.update) {
      const request = requestOf(peer, passwords.get(peer.address));
      if (request !== undefined) changes.push([peer.address, () => this.#update(daemon, request, differs.join(', '), problems)]);
    }
    for (const peer of diff.add) {
      const request = requestOf(peer, passwords.get(peer.address));
      if (request !== undefined) changes.push([peer.address, () => this.#add(daemon, request)]);
    }
    let written = 0;
    for (const [address, change] of changes) {
      try {
        if (await change()) written += 1;
      } catch (error) {
        if (!(error instanceof DaemonError) || error.code !== 'Refused') throw error;
        problems.push(error.message);
        this.#options.log.warn('the BGP daemon refuses a neighbour', { neighbour: address, error: error.message });
      }
    }
    const updated = new Set(diff.update.map(({ peer }) => peer.address));
    for (const address of this.#tried.keys()) if (!updated.has(address)) this.#tried.delete(address);
    if (this.#noBfd && wanted.some((peer) => peer.bfd !== undefined)) {
      problems.push('this BGP daemon has no BFD (GoBGP has it from 4.8 on): a dead path is noticed when the hold time is over');
    }
    this.#problems = problems;
    return written;
  }

  async #delete(daemon: BgpDaemon, address: Address): Promise<boolean> {
    await daemon.deletePeer(address);
    this.#digests.delete(address);
    this.#options.log.info('neighbour removed', { neighbour: address });
    return true;
  }

  async #add(daemon: BgpDaemon, request: PeerRequest): Promise<boolean> {
    await daemon.addPeer(request);
    this.#digests.set(request.address, digest(request.password));
    this.#options.log.info('neighbour set up', { neighbour: request.address, asn: request.asn });
    return true;
  }

  /** In place; where that leaves the difference, anew; where that does, too, not at all. */
  async #update(daemon: BgpDaemon, request: PeerRequest, differs: string, problems: string[]): Promise<boolean> {
    const { log } = this.#options;
    const before = this.#tried.get(request.address);
    const times = before?.differs === differs ? before.times : 0;
    if (times > 0 && /^BFD [^,]*$/.test(differs)) {
      this.#noBfd = true;
      return false;
    }
    if (times > 1) {
      problems.push(`neighbour ${request.address}: the BGP daemon keeps ${differs}`);
      return false;
    }
    if (times === 0) {
      const { resets } = await daemon.updatePeer(request);
      log.info('neighbour changed', { neighbour: request.address, differs, sessionReset: resets });
    } else {
      // GoBGP 3 takes some changes, as of hops, without making them.
      await daemon.deletePeer(request.address);
      await daemon.addPeer(request);
      log.info('neighbour set up anew, since the BGP daemon did not change it in place', { neighbour: request.address, differs });
    }
    this.#digests.set(request.address, digest(request.password));
    this.#tried.set(request.address, { differs, times: times + 1 });
    return true;
  }

  async #password({ address, passwordFile }: BgpPeer): Promise<Password> {
    if (passwordFile === undefined) return { text: undefined };
    const refused = (why: string): Password => ({ problem: `neighbour ${address}: the password file ${passwordFile} ${why}` });
    let bytes: Buffer;
    try {
      bytes = await this.#options.readPassword(passwordFile);
    } catch (error) {
      return refused(`cannot be read (${(error as NodeJS.ErrnoException).code ?? (error as Error).message})`);
    }
    const text = bytes.toString('utf8').replace(/\r?\n$/, '');
    if (text === '') return refused('is empty');
    // The kernel takes bytes; a line in the middle is a file with something else in it.
    if (/[\0\r\n]/.test(text)) return refused('has more than one line');
    if (Buffer.byteLength(text) > longestPassword) return refused(`has more than ${longestPassword} bytes`);
    return { text };
  }

  #matches(password: Password | undefined, status: PeerStatus): boolean {
    // Nothing can be said of a password that cannot be read.
    if (password === undefined || 'problem' in password) return true;
    if (status.hasPassword !== undefined) return status.hasPassword(password.text);
    const known = this.#digests.get(status.address);
    if (known === undefined) this.#digests.set(status.address, digest(password.text));
    return known === undefined || known === digest(password.text);
  }
}

function digest(password: string | undefined): string {
  return password === undefined ? '' : createHash('sha256').update(password).digest('hex');
}

/** Undefined where the password cannot be had: without it, no session would come up. */
function requestOf({ passwordFile: _, ...peer }: BgpPeer, password: Password | undefined): PeerRequest | undefined {
  if (password === undefined || 'problem' in password) return undefined;
  return { ...peer, ...(password.text === undefined ? {} : { password: password.text }) };
}
