import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { IpvsOptionsInput } from '../../src/model/config-schema.ts';
import { normaliseOptions, type NormalisedOptions } from '../../src/model/options.ts';

function run(options: IpvsOptionsInput): { result: NormalisedOptions; told: string[] } {
  const told: string[] = [];
  const result = normaliseOptions(options, (severity, key, message) => {
    told.push(`${severity} ${key}: ${typeof message === 'string' ? message : message()}`);
  });
  return { result, told };
}

describe('C04 option normalisation never rejects', () => {
  test('schedulers', () => {
    for (const [text, scheduler, told] of [
      ['wrr', 'wrr', undefined],
      ['rr', 'rr', undefined],
      ['lc', 'lc', undefined],
      ['wlc', 'wlc', undefined],
      ['dh', 'dh', undefined],
      ['sh', 'sh', undefined],
      ['', 'wrr', undefined],
      ['  ', 'wrr', undefined],
      [' RR ', 'rr', /^warning scheduler: " RR " is read as "rr"$/],
      ['MH', 'mh', /^warning/],
      ['sed', 'wrr', /^coercion scheduler: .*"sed" is not offered.*"wrr" is used$/],
      ['lblc', 'wrr', /^coercion scheduler: .*not offered/],
      ['xyz', 'wrr', /^coercion scheduler: unknown scheduler "xyz", did you mean "wrr"\? "wrr" is used$/],
      ['wrrr', 'wrr', /did you mean "wrr"\?/],
      ['hm', 'wrr', /did you mean "mh"\?/],
    ] as const) {
      const { result, told: messages } = run({ scheduler: text });
      assert.equal(result.scheduler, scheduler, text);
      assert.equal(messages.length, told === undefined ? 0 : 1, text);
      if (told !== undefined) assert.match(messages[0] ?? '', told);
    }
  });

  test('flags', () => {
    for (const [options, flags, messages] of [
      [{ scheduler: 'mh' }, [1, 2], 0],
      [{ scheduler: 'MH' }, [1, 2], 1],
      [{ scheduler: 'mh', flags: 'flag-2' }, [2], 0],
      [{ scheduler: 'sh', flags: 'flag-1' }, [1], 0],
      [{ scheduler: 'sh' }, [], 0],
      [{ scheduler: 'rr', flags: '' }, [], 0],
      [{ scheduler: 'sh', flags: 'sh-port, sh-fallback' }, [1, 2], 0],
      [{ scheduler: 'mh', flags: 'mh-port,flag-3' }, [2, 3], 0],
      [{ scheduler: 'mh', flags: 'flag-9' }, [1, 2], 1],
      [{ scheduler: 'sh', flags: 'flag-1,nonsense' }, [1], 1],
    ] as const) {
      const { result, told } = run(options);
      assert.deepEqual(result.schedulerFlags, flags, JSON.stringify(options));
      assert.equal(told.length, messages, JSON.stringify(options));
    }
  });

  test('forwarding methods: exactly g or i, anything else is g', () => {
    for (const [text, forward, messages] of [
      ['g', 'direct', 0],
      ['i', 'tunnel', 0],
      ['', 'direct', 0],
      ['I', 'direct', 1],
      ['m', 'direct', 1],
      ['q', 'direct', 1],
    ] as const) {
      const { result, told } = run({ forwardingMethod: text });
      assert.equal(result.forward, forward, text);
      assert.equal(told.length, messages, text);
    }
  });
});

test('C03 thresholds: negative is 0, lower not below upper is off', () => {
  for (const [upper, lower, expected, messages] of [
    [6000, 3000, [6000, 3000], 0],
    [6000, undefined, [6000, 0], 0],
    [undefined, undefined, [0, 0], 0],
    [0, 0, [0, 0], 0],
    [10, 10, [0, 0], 1],
    [0, 5, [0, 0], 1],
    [7, -2, [7, 0], 1],
    [-3, -9, [0, 0], 2],
  ] as const) {
    const options: IpvsOptionsInput = {
      ...(upper === undefined ? {} : { uThreshold: upper }),
      ...(lower === undefined ? {} : { lThreshold: lower }),
    };
    const { result, told } = run(options);
    assert.deepEqual([result.upperThreshold, result.lowerThreshold], expected, `${upper} ${lower}`);
    assert.equal(told.length, messages, `${upper} ${lower}`);
    assert.ok(told.every((text) => text.startsWith('coercion ')));
  }
});
