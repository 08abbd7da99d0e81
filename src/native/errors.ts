/**
 * Every way in which a call on the kernel can end badly, as a type of its own: callers branch on
 * types and errno names, never on message text.
 */

/** What the kernel added in words (NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS; linux/netlink.h). */
export interface ExtendedAck {
  /** The kernel's own sentence, when it gave one. */
  readonly message?: string;
  /** Byte offset, in the request, of the attribute that was refused. */
  readonly offset?: number;
}

/** The pieces a {@link KernelError} is made of. */
export interface KernelErrorFields {
  /** What was asked for, `<interface>.<method>`: `ipvs.addService`, `nftables.commit`. */
  readonly op: string;
  /** The object it was asked of, for people: `tcp 10.0.0.1:80 -> 10.1.2.3:80`. */
  readonly subject: string;
  /** Positive errno number. */
  readonly errno: number;
  /** Errno name: `EEXIST`. */
  readonly code: string;
  /** Position of the failing operation in the batch, when there was a batch. */
  readonly index?: number | undefined;
  readonly extack?: ExtendedAck | undefined;
  /** The command that mends it, where the errno leaves only one: `modprobe ip_vs_wrr`. */
  readonly hint?: string | undefined;
}

/** The kernel said no. The message holds operation, subject, errno name and the kernel's own text. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  readonly op: string;
  readonly subject: string;
  readonly errno: number;
  readonly code: string;
  readonly index: number | undefined;
  readonly extack: ExtendedAck | undefined;
  readonly hint: string | undefined;

  constructor(fields: KernelErrorFields) {
    const words = fields.extack?.message === undefined ? '' : `: ${fields.extack.message}`;
    const where = fields.index === undefined ? '' : ` (operation ${String(fields.index)} of the batch)`;
    // Where the kernel gave no words: of all errnos the one that is about the caller and not about the call.
    const right = fields.code === 'EPERM' && words === '' ? 'run as root, or with CAP_NET_ADMIN' : undefined;
    const hint = fields.hint ?? right;
    const remedy = hint === undefined ? '' : `; try: ${hint}`;
    super(`${fields.op} ${fields.subject}: ${fields.code}${words}${where}${remedy}`);
    this.op = fields.op;
    this.subject = fields.subject;
    this.errno = fields.errno;
    this.code = fields.code;
    this.index = fields.index;
    this.extack = fields.extack;
    this.hint = fields.hint;
  }

  /** Narrows `error`; with `code`, also to one errno name. */
  static is(error: unknown, code?: string): error is KernelError {
    return error instanceof KernelError && (code === undefined || error.code === code);
  }
}

/** The kernel lacks the feature. `hint` is the command or package that brings it. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError';
  readonly feature: string;
  readonly hint: string | undefined;

  constructor(feature: string, hint?: string) {
    super(hint === undefined ? `${feature}: not supported by this kernel` : `${feature}: not supported by this kernel; try: ${hint}`);
    this.feature = feature;
    this.hint = hint;
  }
}

/** The table changed while it was being read, more often than the bounded retries allow. */
export class DumpInterruptedError extends Error {
  override readonly name = 'DumpInterruptedError';
}

/** No answer within the time allowed; the socket was closed and reopened. */
export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
}

/** The handle, or its namespace, was closed before or while the call ran. */
export class ClosedError extends Error {
  override readonly name = 'ClosedError';
}

/** A reply that the kernel should not have sent: a defect here or there, kept for the report. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}
