import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatReport, validationReport } from '../../src/cli/validate.ts';
import { bfdSchema, bgpSchema, peerSchema, routeSchema } from '../../src/model/bgp-schema.ts';
import {
  clusterFileSchema,
  endpointSchema,
  entrySchema,
  ipvsOptionsSchema,
  nodeSchema,
  servicePortSchema,
  serviceSchema,
} from '../../src/model/config-schema.ts';
import { generalLimit } from '../../src/model/document/general.ts';
import { read } from './model-input.ts';

const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
const blocks = [...page.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({ language, text }));
const examples = blocks.filter(({ language, text }) => language === 'yaml' || (language === 'json' && !text.includes('"valid"')));

test('every example is valid, and only a configuration alone is warned about', () => {
  assert.equal(examples.length, 4);
  for (const { text } of examples) {
    const { state, errors, coercions, warnings } = read(text, { carrier: 'auto' });
    assert.deepEqual({ errors, coercions }, { errors: [], coercions: [] });
    assert.ok((state?.virtualServices.size ?? 0) > 0);
    assert.deepEqual(
      warnings.map(({ message }) => message),
      text.includes('services:') ? [] : ['no nodes and services in it: what the configuration refers to was not checked'],
    );
  }
});

test('what the first example is said to print is what it prints', () => {
  const [first] = examples;
  const text = first?.text ?? '';
  const good = formatReport(validationReport('cluster.yaml', read(text), false));
  const bad = formatReport(validationReport('cluster.yaml', read(text.replace('service: api', 'service: apo')), false));
  assert.ok(page.includes(good), good);
  assert.ok(page.includes(bad), bad);
});

test('the JSON output is shown as it is', () => {
  const shown = blocks.filter(({ language, text }) => language === 'json' && text.includes('"valid"'));
  assert.equal(shown.length, 1);
  const entry = { service: 'a', ipvsOptions: { scheduler: 'wrrr' } };
  const input = JSON.stringify({ services: [{ name: 'a', ports: [{ port: 80 }] }], config: { '10.50.0.100': { '80': entry } } });
  const report = validationReport('cluster.yaml', read(input), false);
  const errors = report.errors.map((problem) => ({ ...problem, line: 12 }));
  assert.deepEqual(JSON.parse(shown[0]?.text ?? ''), { ...report, errors });
});

test('every key is on the page', () => {
  const ofCluster = [clusterFileSchema, entrySchema, ipvsOptionsSchema, nodeSchema, serviceSchema, servicePortSchema, endpointSchema];
  for (const schema of [...ofCluster, bgpSchema, peerSchema, bfdSchema, routeSchema]) {
    for (const key of Object.keys(schema.shape)) assert.ok(page.includes(`\`${key}\``), key);
  }
});

test('the limits on the page are the limits of the program', () => {
  assert.ok(page.includes(`above ${generalLimit / 1024} KiB`));
});
