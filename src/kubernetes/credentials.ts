/**
 * Tokens and certificates as they are now. Tokens of service accounts live for an hour, certificate authorities are
 * replaced: files are read again every few seconds, and at once when the server or its certificate is refused.
 */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Clock } from '../model/clock.ts';
import { AccessError, type Access, type Material } from './access.ts';

/** How the agent shows itself. Another object whenever anything in it is another. */
export interface Credentials {
  /** Kept as long as authority, certificate and key are the same. */
  readonly secureContext: SecureContext;
  /** Value of the header; a secret. */
  readonly authorization: string | undefined;
}

export interface CredentialReaderOptions {
  readonly access: Access;
  readonly clock: Clock;
  /** How long what was read is taken as true. Default 10 s. */
  readonly keepMilliseconds?: number;
  /** Told in words, once per change, when files changed or cannot be read again. Never a secret. */
  readonly onNotice?: (message: string) => void;
}

/** Certificate bundles of large organisations have some hundred kilobytes. */
const longestFile = 4 * 1024 * 1024;
/** RFC 6750 section 2.1, b64token, and a bit more: what a header can carry. */
const tokenCharacters = /^[\x21-\x7e]+$/;

/** The bytes of everything that can change. */
interface Contents {
  readonly token: string | undefined;
  readonly authority: Buffer | undefined;
  readonly certificate: Buffer | undefined;
  readonly key: Buffer | undefined;
}

async function readBytes(file: string): Promise<Buffer> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new AccessError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unreadable'})`);
  });
  if (bytes.length > longestFile) throw new AccessError(`${file}: is longer than ${longestFile} bytes`);
  return bytes;
}

async function bytesOf(material: Material | undefined): Promise<Buffer | undefined> {
  if (material === undefined) return undefined;
  return 'data' in material ? material.data : readBytes(material.file);
}

async function tokenOf({ identity: { token }, origin }: Access): Promise<string | undefined> {
  if (token === undefined) return undefined;
  const text = ('text' in token ? token.text : (await readBytes(token.file)).toString('utf8')).trim();
  const where = 'file' in token ? token.file : origin;
  if (text === '') throw new AccessError(`${where}: the token is empty`);
  if (!tokenCharacters.test(text)) throw new AccessError(`${where}: the token has characters that no token has`);
  return text;
}

function sameBytes(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === undefined || other === undefined ? one === other : one.equals(other);
}

export class CredentialReader {
  readonly #options: Required<CredentialReaderOptions>;
  #contents: Contents | undefined;
  #current: Credentials | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<Credentials> | undefined;
  #problem: string | undefined;

  constructor(options: CredentialReaderOptions) {
    this.#options = { keepMilliseconds: 10_000, onNotice: () => {}, ...options };
  }

  /**
   * As they are, read again when that is due. Once good ones were read, failing to read them again keeps those.
   * @throws AccessError when there were no good ones yet
   */
  current(): Promise<Credentials> {
    const { clock, keepMilliseconds } = this.#options;
    const fresh = this.#current !== undefined && clock.now() - this.#readAt < keepMilliseconds;
    return fresh && this.#current !== undefined ? Promise.resolve(this.#current) : this.#read();
  }

  /** Reads now: the server found `refused` wanting. Undefined when there is nothing else to show. */
  async renewed(refused: Credentials): Promise<Credentials | undefined> {
    const now = this.#current !== refused && this.#current !== undefined ? this.#current : await this.#read();
    return now === refused ? undefined : now;
  }

  /** All who ask at the same time wait for the same read. */
  #read(): Promise<Credentials> {
    this.#reading ??= this.#readOnce().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  async #readOnce(): Promise<Credentials> {
    const { access, clock, onNotice } = this.#options;
    const { identity, authority } = access;
    try {
      const contents: Contents = {
        token: await tokenOf(access),
        authority: await bytesOf(authority),
        certificate: await bytesOf(identity.certificate),
        key: await bytesOf(identity.key),
      };
      this.#current = this.#take(contents);
      if (this.#problem !== undefined) onNotice(`${access.origin}: credentials can be read again`);
      this.#problem = undefined;
    } catch (error) {
      if (this.#current === undefined) throw error;
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== this.#problem) onNotice(`${problem}; what was read before stays in use`);
      this.#problem = problem;
    }
    this.#readAt = clock.now();
    return this.#current;
  }

  #take(contents: Contents): Credentials {
    const { access, onNotice } = this.#options;
    const before = this.#contents;
    const sameTls =
      before !== undefined &&
      sameBytes(before.authority, contents.authority) &&
      sameBytes(before.certificate, contents.certificate) &&
      sameBytes(before.key, contents.key);
    if (this.#current !== undefined && sameTls && before.token === contents.token) return this.#current;
    const secureContext = this.#current !== undefined && sameTls ? this.#current.secureContext : secureContextOf(contents, access);
    this.#contents = contents;
    if (before !== undefined && !sameTls) onNotice(`${access.origin}: certificates have changed; new connections use them`);
    return { secureContext, authorization: contents.token === undefined ? undefined : `Bearer ${contents.token}` };
  }
}

function secureContextOf({ authority, certificate, key }: Contents, { origin }: Access): SecureContext {
  try {
    if (authority !== undefined) checkAuthority(authority);
    return createSecureContext({
      ...(authority === undefined ? {} : { ca: authority }),
      ...(certificate === undefined ? {} : { cert: certificate }),
      ...(key === undefined ? {} : { key }),
    });
  } catch (error) {
    // OpenSSL's words name what is wrong with a certificate or key, and quote neither.
    throw new AccessError(
      `${origin}: certificate authority, client certificate or key: ${error instanceof Error ? error.message : 'unusable'}`,
    );
  }
}

/** OpenSSL takes a bundle without a single certificate in it, and then trusts nobody. */
function checkAuthority(authority: Buffer): void {
  const blocks = authority.toString('latin1').match(/-----BEGIN (TRUSTED )?CERTIFICATE-----[^]*?(-----END (TRUSTED )?CERTIFICATE-----|$)/g);
  if (blocks === null) throw new Error('no certificate in it');
  for (const block of blocks) new X509Certificate(block);
}
