import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { IpvsOptionsInput } from '../../src/model/config-schema.ts';
import { defaultOptions, normaliseOptions, schedulers, type NormalisedOptions, type OptionsContext } from '../../src/model/options.ts';
import { read } from './model-input.ts';

const usual = defaultOptions();

function run(options: IpvsOptionsInput, context: Partial<OptionsContext> = {}): { result: NormalisedOptions; told: string[] } {
  const told: string[] = [];
  const result = normaliseOptions(options, { family: 4, udp: false, ...context }, (severity, key, message) => {
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
      ['sed', 'sed', undefined],
      ['lblc', 'lblc', undefined],
      ['LBLCR', 'lblcr', /^warning scheduler: "LBLCR" is read as "lblcr"$/],
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

  test('every scheduler of the kernel goes by its own name', () => {
    assert.equal(schedulers.length, 14);
    for (const scheduler of schedulers)
      assert.deepEqual(run({ scheduler }), {
        result: { ...usual, scheduler, schedulerFlags: scheduler === 'mh' ? [1, 2] : [] },
        told: [],
      });
  });

  test('forwarding methods: letters and words exactly so, anything else is direct routing', () => {
    for (const [text, forward, messages] of [
      ['g', 'direct', 0],
      ['direct', 'direct', 0],
      ['i', 'tunnel', 0],
      ['tunnel', 'tunnel', 0],
      ['m', 'masquerade', 0],
      ['masquerade', 'masquerade', 0],
      ['', 'direct', 0],
      ['I', 'direct', 1],
      ['M', 'direct', 1],
      ['q', 'direct', 1],
    ] as const) {
      const { result, told } = run({ forwardingMethod: text });
      assert.equal(result.forward, forward, text);
      assert.equal(told.length, messages, text);
      for (const message of told)
        assert.match(message, /^coercion forwardingMethod: unknown forwarding method ".".*; "g", direct routing, is used$/);
    }
  });

  test('tunnels', () => {
    for (const [options, tunnel, told] of [
      [{}, undefined, undefined],
      [{ tunnelType: 'ipip' }, undefined, undefined],
      [{ tunnelType: 'gre' }, { type: 'gre' }, undefined],
      [{ tunnelType: 'gue' }, { type: 'gue', port: 6080 }, undefined],
      [{ tunnelType: 'gue', tunnelPort: 5555 }, { type: 'gue', port: 5555 }, undefined],
      [
        { tunnelType: 'gue', tunnelPort: 0 },
        { type: 'gue', port: 6080 },
        'coercion tunnelPort: a port is 1 to 65535; 6080 is used instead of 0',
      ],
      [{ tunnelType: 'gue', tunnelPort: 65_536 }, { type: 'gue', port: 6080 }, /^coercion tunnelPort/],
      [{ tunnelPort: 5555 }, undefined, 'coercion tunnelPort: only the tunnel type "gue" has a port; it is left out'],
      [{ tunnelType: 'gre', tunnelPort: 5555 }, { type: 'gre' }, /^coercion tunnelPort/],
      [{ tunnelType: 'geu' }, undefined, 'coercion tunnelType: unknown tunnel type "geu", did you mean "gue"? "ipip" is used'],
      [{ tunnelType: 'vxlan' }, undefined, 'coercion tunnelType: unknown tunnel type "vxlan"; "ipip" is used'],
    ] as const) {
      const { result, told: messages } = run({ forwardingMethod: 'i', ...options });
      assert.equal(result.forward, 'tunnel');
      assert.deepEqual(result.tunnel, tunnel, JSON.stringify(options));
      assert.equal(messages.length, told === undefined ? 0 : 1, JSON.stringify(options));
      if (typeof told === 'string') assert.equal(messages[0], told);
      else if (told !== undefined) assert.match(messages[0] ?? '', told);
    }
  });

  test('the source is masqueraded unless the configuration says otherwise', () => {
    assert.equal(run({ forwardingMethod: 'm' }).result.masqueradeSource, true);
    assert.deepEqual(run({ forwardingMethod: 'm', masqueradeSource: false }).result.masqueradeSource, false);
  });

  test('persistence', () => {
    for (const [options, family, expected, messages] of [
      [{}, 4, {}, 0],
      [{ persistenceSeconds: 0 }, 4, {}, 0],
      [{ persistenceSeconds: 300 }, 4, { persistenceSeconds: 300 }, 0],
      [{ persistenceSeconds: 300, persistencePrefix: 24 }, 4, { persistenceSeconds: 300, persistencePrefix: 24 }, 0],
      [{ persistenceSeconds: 300, persistencePrefix: 32 }, 4, { persistenceSeconds: 300 }, 0],
      [{ persistenceSeconds: 300, persistencePrefix: 64 }, 6, { persistenceSeconds: 300, persistencePrefix: 64 }, 0],
      [{ persistenceSeconds: 300, persistencePrefix: 128 }, 6, { persistenceSeconds: 300 }, 0],
      [{ persistenceSeconds: 300, persistencePrefix: 64 }, 4, { persistenceSeconds: 300 }, 1],
      [{ persistenceSeconds: 300, persistencePrefix: 0 }, 6, { persistenceSeconds: 300 }, 1],
      [{ persistenceSeconds: -1 }, 4, {}, 1],
      [{ persistenceSeconds: 2_678_401 }, 4, { persistenceSeconds: 2_678_400 }, 1],
    ] as const) {
      const { result, told } = run(options, { family });
      const { persistenceSeconds, persistencePrefix } = result;
      assert.deepEqual(
        {
          ...(persistenceSeconds === undefined ? {} : { persistenceSeconds }),
          ...(persistencePrefix === undefined ? {} : { persistencePrefix }),
        },
        expected,
        JSON.stringify(options),
      );
      assert.equal(told.length, messages, JSON.stringify(options));
    }
  });

  test('contradictions leave out what cannot be, and say so', () => {
    for (const [options, message] of [
      [{ onePacket: true }, 'coercion onePacket: is for UDP alone, which is not enabled here; it is left out'],
      [{ tunnelType: 'gue' }, 'coercion tunnelType: the forwarding method is no tunnel ("i"); it is left out'],
      [{ forwardingMethod: 'm', tunnelPort: 1 }, 'coercion tunnelPort: the forwarding method is no tunnel ("i"); it is left out'],
      [{ persistencePrefix: 24 }, 'coercion persistencePrefix: means nothing without persistenceSeconds; it is left out'],
      [{ masqueradeSource: true }, 'coercion masqueradeSource: the forwarding method is not masquerade ("m"); it is left out'],
      [
        { forwardingMethod: 'i', masqueradeSource: false },
        'coercion masqueradeSource: the forwarding method is not masquerade ("m"); it is left out',
      ],
    ] as const) {
      const { result, told } = run(options);
      assert.deepEqual(told, [message]);
      const forwardingMethod = 'forwardingMethod' in options ? options.forwardingMethod : 'g';
      assert.deepEqual(result, run({ forwardingMethod }).result, JSON.stringify(options));
    }
    assert.deepEqual(run({ onePacket: true }, { udp: true }), { result: { ...usual, onePacket: true }, told: [] });
    assert.deepEqual(run({ onePacket: false }), { result: usual, told: [] });
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

describe('another default scheduler', () => {
  const options = { defaultScheduler: 'mh' } as const;

  test('is for those that name none, or none that there is; with the flags of its own', () => {
    for (const scheduler of [undefined, '', ' ']) {
      const { result, told } = run(scheduler === undefined ? {} : { scheduler }, options);
      assert.deepEqual([result.scheduler, result.schedulerFlags, told], ['mh', [1, 2], []]);
    }
    const { result, told } = run({ scheduler: 'xyz' }, options);
    assert.equal(result.scheduler, 'mh');
    assert.match(told.join(), /"mh" is used/);
    assert.deepEqual(run({ scheduler: 'WRR' }, options).result.scheduler, 'wrr', 'a scheduler of its own stays');
    assert.deepEqual(run({ flags: 'mh-port' }, options).result.schedulerFlags, [2]);
  });

  test('the same object for all without options', () => {
    assert.equal(defaultOptions('mh'), defaultOptions('mh'));
    assert.equal(defaultOptions('wrr'), defaultOptions());
    assert.deepEqual({ ...defaultOptions('mh'), scheduler: 'wrr', schedulerFlags: [] }, defaultOptions());
  });

  test('whole inputs, the default listener among them', () => {
    const listener = { namespace: 'a', service: 'b', portName: '', port: 81 };
    const input =
      '{"config":{"192.0.2.10":{"80":{"service":"x"},"82":{"service":"x","ipvsOptions":{"scheduler":"rr"}}}},"vipPool":["192.0.2.11"]}';
    const found = (defaultScheduler?: 'mh'): string[] =>
      [...(read(input, { carrier: 'config', defaultListener: listener, defaultScheduler }).state?.virtualServices.values() ?? [])].map(
        ({ key, scheduler }) => `${key} ${scheduler}`,
      );
    assert.deepEqual(found('mh'), ['tcp 192.0.2.10:80 mh', 'tcp 192.0.2.10:82 rr', 'tcp 192.0.2.11:81 mh']);
    assert.deepEqual(found(), ['tcp 192.0.2.10:80 wrr', 'tcp 192.0.2.10:82 rr', 'tcp 192.0.2.11:81 wrr']);
  });
});
