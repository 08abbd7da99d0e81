/** What the cases share. */
import assert from 'node:assert/strict';
import { KernelError } from '../../src/native/errors.ts';
import type { ApplyResult } from '../../src/native/ipvs-types.ts';

/** Written once, run on the fake kernel and on Linux: the fake is believed where both pass. */
export interface ConformanceCase<Port> {
  readonly name: string;
  readonly run: (port: Port) => Promise<void>;
}

/** Errno names by position in the batch: `[undefined, 'EEXIST']` for one that worked and one that did not. */
export function outcomes<Operation>(result: ApplyResult<Operation>, count: number): (string | undefined)[] {
  const codes = Array.from({ length: count }, (): string | undefined => undefined);
  for (const { index, error } of result.failed) codes[index] = error.code;
  assert.equal(result.applied, count - result.failed.length, 'applied and failed add up');
  return codes;
}

/** The call must end with this errno, at this operation of the batch. */
export async function refuses(call: Promise<unknown>, code: string, index?: number): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(KernelError.is(error), `not a KernelError: ${String(error)}`);
    assert.equal(error.code, code, error.message);
    if (index !== undefined) assert.equal(error.index, index, error.message);
    return true;
  });
}
