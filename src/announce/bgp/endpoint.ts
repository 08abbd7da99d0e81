/** Where a BGP daemon listens for its clients. */
import { addressFamily, canonicalAddress } from '../../model/address.ts';
import { quote } from '../../model/problems.ts';

export interface Endpoint {
  /** Canonical, for people. */
  readonly text: string;
  /** For the gRPC library, with the scheme that says how it is to be resolved. */
  readonly target: string;
  /** Name that a certificate has to bear; `localhost` for a socket in the file system. */
  readonly host: string;
}

/** Of `sockaddr_un.sun_path`, less the byte that ends it. */
const longestSocketPath = 107;

/** Names of machines: letters, digits, hyphens, in labels (RFC 1123 section 2.1). */
const hostName = /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*\.?$/;

/**
 * `127.0.0.1:50051`, `[::1]:50051`, `name:50051`, `unix:/run/gobgpd.sock` (also `unix:///run/gobgpd.sock`).
 * @throws TypeError for anything else
 */
export function parseEndpoint(text: string): Endpoint {
  const socket = /^unix:(?:\/\/)?(\/(?!\/).+)$/s.exec(text)?.[1];
  if (socket !== undefined) {
    if (Buffer.byteLength(socket) > longestSocketPath)
      throw new TypeError(`${quote(text)}: the path has more than ${longestSocketPath} bytes`);
    if (socket.includes('\0')) throw new TypeError(`${quote(text)} is no endpoint`);
    return { text: `unix:${socket}`, target: `unix:${socket}`, host: 'localhost' };
  }
  const [, bracketed, plain, digits = ''] = /^(?:\[([^\]]*)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  const host = bracketed ?? plain;
  if (host === undefined || port < 1 || port > 65535) {
    throw new TypeError(`${quote(text)} is no endpoint: host:port, [IPv6 address]:port or unix:/path expected`);
  }
  const family = addressFamily(host);
  if (bracketed !== undefined) {
    const address = canonicalAddress(bracketed);
    if (family !== 6 || address === undefined) throw new TypeError(`${quote(text)}: ${quote(bracketed)} is no IPv6 address`);
    return { text: `[${address}]:${port}`, target: `ipv6:[${address}]:${port}`, host: address };
  }
  if (family === 4) return { text: `${host}:${port}`, target: `ipv4:${host}:${port}`, host };
  if (!hostName.test(host) || /^[0-9.]+$/.test(host)) throw new TypeError(`${quote(text)}: ${quote(host)} is no name of a machine`);
  return { text: `${host}:${port}`, target: `dns:${host}:${port}`, host };
}
