/**
 * A node:test reporter that writes one JSON line per finished test. It imports nothing that exists at
 * run time, so that a VM can load it as it is.
 */
import type { TestEvent } from 'node:test/reporters';
import type { NoteLine, TestLine } from './results.ts';

export async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    // What a test wants said in the summary: diagnostic('note: …').
    if (event.type === 'test:diagnostic' && event.data.message.startsWith('note: ')) {
      yield `${JSON.stringify({ note: event.data.message.slice('note: '.length) } satisfies NoteLine)}\n`;
      continue;
    }
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { name, file, details, skip, todo } = event.data;
    if (details.type === 'suite') {
      // A suite passes or fails with its tests; only what its own hooks did wrong is news.
      if (event.type === 'test:pass' || failureType(event.data.details.error) === 'subtestsFailed') continue;
    }
    const line: TestLine = {
      name,
      file: file ?? '',
      nesting: event.data.nesting,
      outcome: event.type === 'test:pass' ? 'passed' : 'failed',
    };
    if (skip !== undefined || todo !== undefined) {
      line.outcome = 'skipped';
      const reason = skip ?? todo;
      line.reason = typeof reason === 'string' ? reason : '';
    }
    if (event.type === 'test:fail' && line.outcome === 'failed') line.error = describe(event.data.details.error);
    yield `${JSON.stringify(line)}\n`;
  }
}

function failureType(error: Error): string {
  return String((error as { failureType?: unknown }).failureType);
}

function describe(error: Error): string {
  const cause: unknown = error.cause ?? error;
  if (!(cause instanceof Error)) return typeof cause === 'string' ? cause : JSON.stringify(cause);
  const inner =
    cause.cause === undefined
      ? ''
      : `\ncaused by: ${cause.cause instanceof Error ? (cause.cause.stack ?? cause.cause.message) : JSON.stringify(cause.cause)}`;
  return (cause.stack ?? cause.message) + inner;
}

// The one default export: node --test-reporter takes nothing else.
export { report as default };
