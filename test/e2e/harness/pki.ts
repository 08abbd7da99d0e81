/** Keys and certificates of the test's control plane, made with the openssl program and used for a day. */
import { writeFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { run } from '../../lab/namespace.ts';

export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

const DAYS = '2';

export class CertificateAuthority {
  readonly #folder: string;
  readonly pair: KeyPair;

  private constructor(folder: string, pair: KeyPair) {
    this.#folder = folder;
    this.pair = pair;
  }

  static async create(folder: string, name: string): Promise<CertificateAuthority> {
    const pair = pairIn(folder, name);
    await openssl([
      ...self(pair, `/CN=${name}`),
      '-addext',
      'basicConstraints=critical,CA:TRUE',
      '-addext',
      'keyUsage=keyCertSign,cRLSign',
    ]);
    return new CertificateAuthority(folder, pair);
  }

  /** For TLS servers. */
  async server(name: string, alternativeNames: readonly string[]): Promise<KeyPair> {
    return this.#issue(name, `/CN=${name}`, 'serverAuth', [`subjectAltName=${alternativeNames.join(',')}`]);
  }

  /** For clients: Kubernetes takes the common name as the user and the organisation as its group. */
  async client(user: string, group?: string): Promise<KeyPair> {
    const name = user.replaceAll(':', '-');
    return this.#issue(name, `${group === undefined ? '' : `/O=${group}`}/CN=${user}`, 'clientAuth', []);
  }

  async #issue(name: string, subject: string, usage: string, extensions: readonly string[]): Promise<KeyPair> {
    const pair = pairIn(this.#folder, name);
    const all = ['basicConstraints=critical,CA:FALSE', `extendedKeyUsage=${usage}`, ...extensions];
    const by = ['-CA', this.pair.certificate, '-CAkey', this.pair.key];
    await openssl([...self(pair, subject), ...by, ...all.flatMap((extension) => ['-addext', extension])]);
    return pair;
  }
}

/** The keys with which tokens of service accounts are signed and verified; returns the paths of both. */
export function serviceAccountKeys(folder: string): { readonly publicKey: string; readonly privateKey: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'sec1', format: 'pem' },
  });
  const paths = { publicKey: join(folder, 'service-accounts.pub'), privateKey: join(folder, 'service-accounts.key') };
  writeFileSync(paths.publicKey, publicKey);
  writeFileSync(paths.privateKey, privateKey, { mode: 0o600 });
  return paths;
}

function pairIn(folder: string, name: string): KeyPair {
  return { certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
}

function self({ certificate, key }: KeyPair, subject: string): string[] {
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
  return ['req', '-x509', ...fresh, '-out', certificate, '-days', DAYS, '-subj', subject];
}

async function openssl(words: readonly string[]): Promise<void> {
  await run(['openssl', ...words]);
}
