/**
 * Finds and loads the compiled addon, once, at the first use: importing this package costs nothing
 * and works without a build (types, columns and errors are plain TypeScript).
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ClosedError, DumpInterruptedError, KernelError, ProtocolError, TimeoutError, UnsupportedError } from './errors.ts';
import type { ExtendedAck } from './errors.ts';

/** Functions of the addon by name; each interface's file knows the types of its own. */
export type AddonExports = Readonly<Record<string, unknown>>;

/** What the addon says of a failure (MakeError in native/binding.cc). */
interface FailureFields {
  readonly kind: 'kernel' | 'unsupported' | 'timeout' | 'closed' | 'protocol' | 'interrupted';
  readonly op: string;
  readonly subject: string;
  readonly errno: number;
  readonly code: string;
  readonly message?: string;
  readonly offset?: number;
  readonly index?: number;
}

function extendedAck(fields: FailureFields): ExtendedAck | undefined {
  if (fields.message === undefined && fields.offset === undefined) return undefined;
  return {
    ...(fields.message !== undefined && { message: fields.message }),
    ...(fields.offset !== undefined && { offset: fields.offset }),
  };
}

/** The failure as an instance of its class in errors.ts. */
export function errorOf(fields: FailureFields): Error {
  const where = [fields.op, fields.subject].filter((part) => part !== '').join(' ');
  const text = [where, fields.message ?? ''].filter((part) => part !== '').join(': ');
  switch (fields.kind) {
    case 'kernel':
      return new KernelError({ ...fields, extack: extendedAck(fields) });
    case 'unsupported':
      return new UnsupportedError(fields.subject, fields.message);
    case 'timeout':
      return new TimeoutError(text);
    case 'closed':
      return new ClosedError(text);
    case 'protocol':
      return new ProtocolError(text);
    case 'interrupted':
      return new DumpInterruptedError(text);
  }
}

/** RAVEL_ADDON alone when it is set; else beside this file, then build/Release of the package it lies in. */
function candidates(): readonly string[] {
  const chosen = process.env['RAVEL_ADDON'];
  if (chosen !== undefined && chosen !== '') return [chosen];
  const here = dirname(fileURLToPath(import.meta.url));
  const paths = [join(here, 'ravel.node')];
  let folder = here;
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  paths.push(join(folder, 'dist', 'ravel.node'), join(folder, 'build', 'Release', 'ravel.node'));
  return paths;
}

function load(): AddonExports {
  const paths = candidates();
  const path = paths.find((candidate) => existsSync(candidate));
  if (path === undefined) {
    throw new Error(`the compiled addon is missing: no ${paths.join(', no ')}; build it with: make build`);
  }
  let exports: AddonExports;
  try {
    exports = createRequire(import.meta.url)(path) as AddonExports;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the compiled addon ${path} does not load: ${reason}; build it again with: make build`, { cause });
  }
  (exports['setErrorFactory'] as (factory: (fields: FailureFields) => Error) => void)(errorOf);
  return exports;
}

let loaded: AddonExports | undefined;

/** The addon's functions. Throws an Error that names the paths tried when there is none. */
export function addon(): AddonExports {
  loaded ??= load();
  return loaded;
}
