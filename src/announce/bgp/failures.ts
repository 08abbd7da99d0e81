/** What the gRPC library says of a call that failed, as the one kind of error that the rest of the agent knows. */
import { status } from '@grpc/grpc-js';
import { DaemonError } from './daemon.ts';
import type { DaemonCode } from './daemon.ts';
import { foreignText } from './foreign-text.ts';

/** A call, for messages. */
export interface Call {
  readonly operation: string;
  readonly subject: string;
}

/** What a call ended with, as grpc-js has it. */
interface StatusError {
  readonly code: status;
  readonly details: string;
}

/** The library wraps what the socket said into sentences of its own. */
function cause(details: string): string {
  return foreignText(
    details
      .replace(/^.*Last error: /s, '')
      .replace(/ Resolution note: .*$/s, '')
      .replace(/ \(\d{4}-\d{2}-\d{2}T[^)]*\)/, '')
      .replace(/^Error: /, '')
      .replace(/\.$/, ''),
  );
}

/** Of OpenSSL and of Node's own checks of a certificate. */
const tlsTexts = /SSL routines|certificate|ERR_TLS|altnames|self.signed|before secure TLS/i;

function connectFailure(details: string, tls: boolean): { readonly code: DaemonCode; readonly text: string } {
  const text = cause(details);
  if (/^Protocol error/.test(text)) return { code: 'NotGobgp', text: 'something answers that does not speak gRPC' };
  if (tls && text.includes('wrong version number')) return { code: 'TlsRefused', text: 'it answers without TLS' };
  if (tls && tlsTexts.test(text)) return { code: 'TlsRefused', text };
  if (text === 'Failed to connect') {
    return { code: 'Unreachable', text: `it closes the connection before it says anything${tls ? '' : ' (does it want TLS?)'}` };
  }
  return { code: 'Unreachable', text };
}

/** The daemon's words for a call that needs an autonomous system, in both versions. */
const notStarted = /hasn't started/;

/**
 * @param known a GoBGP has answered on this connection before
 * @param tls the connection is encrypted
 */
export function daemonError(error: unknown, call: Call, known: boolean, tls: boolean): DaemonError {
  if (error instanceof DaemonError) return error;
  const make = (code: DaemonCode, text: string): DaemonError => new DaemonError(code, call.operation, call.subject, text, { cause: error });
  if (!isStatus(error)) return make('Unreachable', foreignText(error instanceof Error ? error.message : String(error)));
  const details = cause(error.details);
  switch (error.code) {
    case status.UNAVAILABLE:
    case status.CANCELLED: {
      const { code, text } = connectFailure(error.details, tls);
      return make(code, text);
    }
    case status.DEADLINE_EXCEEDED:
      return make('Timeout', details);
    case status.UNIMPLEMENTED:
      return make('NotGobgp', known ? `it does not know the call: ${details}` : 'something answers that is neither GoBGP 3 nor GoBGP 4');
    case status.INTERNAL:
      // Also what ends in the middle comes as this: before anything was heard it is a stranger, after that a broken connection.
      if (details.includes('message parsing error')) return make('NotGobgp', `its answer is not understood: ${details}`);
      return known || /ECONN|EPIPE/.test(details)
        ? make('Unreachable', details)
        : make('NotGobgp', `something answers that is no gRPC service: ${details}`);
    case status.UNKNOWN:
      if (notStarted.test(details)) return make('NotStarted', 'it has no autonomous system yet');
      return known ? make('Refused', details) : make('NotGobgp', `something answers that is no GoBGP: ${details}`);
    case status.PERMISSION_DENIED:
    case status.UNAUTHENTICATED:
      return make('Refused', `${status[error.code]}: ${details}`);
    default:
      return make(known ? 'Refused' : 'NotGobgp', `${status[error.code]}: ${details}`);
  }
}

export function isStatus(error: unknown): error is Error & StatusError {
  return (
    error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error && typeof error.details === 'string'
  );
}

/** The service or the method is not there. */
export function isUnimplemented(error: unknown): boolean {
  return isStatus(error) && error.code === status.UNIMPLEMENTED;
}
