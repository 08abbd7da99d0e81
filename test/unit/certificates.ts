/** X.509 certificates for tests (RFC 5280), because node:crypto reads them and signs none. */
import { createPrivateKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { isIPv4 } from 'node:net';

/** DER, X.690: tag, length, content. */
function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const digits = content.length.toString(16);
  const length = content.length < 128 ? Buffer.of(content.length) : Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex');
  return Buffer.concat([Buffer.of(tag), content.length < 128 ? length : Buffer.concat([Buffer.of(0x80 | length.length), length]), content]);
}

const sequence = (...items: readonly Uint8Array[]): Buffer => der(0x30, ...items);
const oid = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'));
/** UTCTime: good until 2049. */
const time = (date: Date): Buffer =>
  der(
    0x17,
    Buffer.from(
      date
        .toISOString()
        .replaceAll(/[-:T]|\.\d+/g, '')
        .slice(2),
    ),
  );
const commonName = (name: string): Buffer => sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from(name)))));

/** ecdsa-with-SHA256, 1.2.840.10045.4.3.2 */
const algorithm = sequence(oid('2a8648ce3d040302'));
const yes = der(0x01, Buffer.of(0xff));
/** basicConstraints, critical: a certificate authority. */
const isAuthority = sequence(oid('551d13'), yes, der(0x04, sequence(yes)));

/** subjectAltName, of addresses (IPv4) and DNS names. */
function alternativeNames(names: readonly string[]): Buffer {
  const items = names.map((name) => (isIPv4(name) ? der(0x87, Buffer.from(name.split('.').map(Number))) : der(0x82, Buffer.from(name))));
  return sequence(oid('551d11'), der(0x04, sequence(...items)));
}

export interface Pair {
  readonly name: string;
  /** PEM. */
  readonly certificate: string;
  readonly key: string;
}

interface Wish {
  readonly name: string;
  /** Whose signature; absent: its own. */
  readonly by?: Pair;
  readonly extension: Buffer;
  /** From now. */
  readonly days: number;
}

function make({ name, by, extension, days }: Wish): Pair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const signer: KeyObject = by === undefined ? privateKey : createPrivateKey(by.key);
  const from = Date.now() - 86_400_000 * 2;
  const content = sequence(
    der(0xa0, der(0x02, Buffer.of(2))),
    // Positive, and as short as it can be: the first byte is neither 0 nor above 0x7f.
    der(0x02, Buffer.concat([Buffer.of(0x40), randomBytes(8)])),
    algorithm,
    commonName(by?.name ?? name),
    sequence(time(new Date(from)), time(new Date(Date.now() + days * 86_400_000))),
    commonName(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(extension)),
  );
  const signature = der(0x03, Buffer.of(0), sign('sha256', content, signer));
  const lines =
    sequence(content, algorithm, signature)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return {
    name,
    certificate: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

export function makeAuthority(name: string): Pair {
  return make({ name, extension: isAuthority, days: 2 });
}

/** @param names addresses and DNS names it is good for; `days` below 0: it is over */
export function makeCertificate(name: string, by: Pair, names: readonly string[], days = 1): Pair {
  return make({ name, by, extension: alternativeNames(names), days });
}
