/** Why there is no answer, in words. Nothing that was sent is ever part of them. */
import { ApiTransportError } from './api.ts';

/** Codes of this client's own; all others are the system's or OpenSSL's. */
export const transportCodes = {
  /** No connection in time. */
  connect: 'CONNECT_TIMEOUT',
  /** No answer, or only a part of it, in time. */
  answer: 'ANSWER_TIMEOUT',
  /** A watch without a byte for too long. */
  idle: 'IDLE_TIMEOUT',
  /** The caller's signal. */
  aborted: 'ABORT_ERR',
  closed: 'CLOSED',
  tooLong: 'ANSWER_TOO_LONG',
  /** A line of a watch that is no JSON. */
  garbled: 'ANSWER_GARBLED',
} as const;

const known: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'connection refused'],
  ['ECONNRESET', 'the connection broke'],
  ['EPIPE', 'the connection broke'],
  ['ENOTFOUND', 'the name does not resolve'],
  ['EAI_AGAIN', 'the name does not resolve: no answer from a name server'],
  ['EHOSTUNREACH', 'no route to the host'],
  ['ENETUNREACH', 'no route to the network'],
  ['CERT_HAS_EXPIRED', "the server's certificate has expired, or this machine's clock is ahead"],
  ['CERT_NOT_YET_VALID', "the server's certificate is not valid yet, or this machine's clock is behind"],
  ['EPROTO', 'the other side speaks no TLS'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'the other side speaks no TLS'],
]);

/** OpenSSL's X509_V_ERR_… and Node's own word for a wrong name. */
const certificateCode = /CERT|SIGNATURE|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH|HOSTNAME|CRL/;

/** Whether the server's certificate was looked at and found wanting. */
export function isCertificateProblem(code: string): boolean {
  return certificateCode.test(code) && !code.includes('ALERT');
}

function wordsFor(code: string, error: Error): string {
  const found = known.get(code);
  if (found !== undefined) return found;
  if (code.includes('ALERT')) return `the server refuses the TLS connection, perhaps the client certificate: ${error.message}`;
  // Behind the semicolon stands what to do with Node, not with a cluster.
  return isCertificateProblem(code) ? `the server's certificate is not accepted: ${error.message.split(';')[0]}` : error.message;
}

/** `https://10.96.0.1:443: connection refused (ECONNREFUSED)` */
export function transportError(server: string, error: unknown): ApiTransportError {
  if (error instanceof ApiTransportError) return error;
  const failure = error instanceof Error ? error : new Error(String(error));
  const code = (failure as NodeJS.ErrnoException).code ?? failure.name;
  // The parser's errors carry the bytes that they stumbled over: those stay out of logs that print causes.
  const cause = 'rawPacket' in failure ? undefined : failure;
  return new ApiTransportError(code, `${server}: ${wordsFor(code, failure)} (${code})`, cause);
}

export function ownTransportError(
  server: string,
  code: (typeof transportCodes)[keyof typeof transportCodes],
  message: string,
): ApiTransportError {
  return new ApiTransportError(code, `${server}: ${message} (${code})`);
}
