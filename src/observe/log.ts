import winston from 'winston';
import { DumpInterruptedError, KernelError, TimeoutError, UnsupportedError } from '../native/errors.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** The part of a logger that the agent uses; tests collect lines through it. */
export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
  /** Guards debug lines on hot paths: a disabled call still builds its fields. */
  readonly debugging: boolean;
}

export interface LogOptions {
  readonly level: 'error' | 'warn' | 'info' | 'debug';
  readonly format: 'json' | 'text';
  /** Only for format "text". */
  readonly colour: boolean;
}

/** Any error as log fields; for kernel errors always `op`, `object` and `errno`. */
export function errorFields(error: unknown): Fields {
  if (error instanceof KernelError) {
    return { error: error.message, op: error.op, object: error.subject, errno: error.code, extack: error.extack?.message };
  }
  if (error instanceof UnsupportedError) return { error: error.message, feature: error.feature, hint: error.hint };
  if (error instanceof TimeoutError || error instanceof DumpInterruptedError) return { error: error.message, kind: error.name };
  return error instanceof Error ? { error: error.message, kind: error.name } : { error: String(error) };
}

const colours: Readonly<Record<string, string>> = { error: '\u001b[31m', warn: '\u001b[33m', info: '\u001b[32m', debug: '\u001b[2m' };
const plain = '\u001b[0m';

function valueText(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}

/** One line for people: time, level, message, then `key=value`. */
export function textLine(info: Fields & { level: string; message: string; timestamp?: string }, colour: boolean): string {
  const { level, message, timestamp, ...fields } = info;
  const pairs = Object.entries(fields).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${valueText(value)}`]));
  const word = colour ? `${colours[level] ?? ''}${level.padEnd(5)}${plain}` : level.padEnd(5);
  return [(timestamp ?? '').slice(11, 23), word, message, ...pairs].filter((part) => part !== '').join(' ');
}

/** Writes to standard error: standard output belongs to what a command prints. */
export function createLog(options: LogOptions): Log {
  const { combine, timestamp, json, printf } = winston.format;
  const line = printf((info) => textLine(info as unknown as Fields & { level: string; message: string }, options.colour));
  const logger = winston.createLogger({
    level: options.level,
    format: options.format === 'json' ? combine(timestamp(), json()) : combine(timestamp(), line),
    // winston declares the base class of its transports twice.
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
    transports: [new winston.transports.Console({ stderrLevels: ['error', 'warn', 'info', 'debug'] })],
  });
  return {
    debug: (message, fields) => void logger.debug(message, fields),
    info: (message, fields) => void logger.info(message, fields),
    warn: (message, fields) => void logger.warn(message, fields),
    error: (message, fields) => void logger.error(message, fields),
    debugging: options.level === 'debug',
  };
}

/** Discards everything. */
export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, debugging: false };
