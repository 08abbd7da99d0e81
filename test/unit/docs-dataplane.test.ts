/** docs/dataplane.md says what the code does: settings, schedulers, sizes, modules. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { withDataplane } from '../../scripts/dataplane-docs.ts';
import { ipvsDefaults } from '../../src/desired/ipvs-sysctls.ts';
import { schedulers } from '../../src/model/options.ts';

const page = readFileSync('docs/dataplane.md', 'utf8');
const sources = globSync('src/**/*.ts').map((file) => ({ file, text: readFileSync(file, 'utf8') }));

/** Rows of the tables, by the code in their first cells. */
const rows = new Set(
  [...page.matchAll(/^\| ((?:`[^`]+`(?:, )?)+) \|/gm)].flatMap(([, cell]) =>
    [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(([, word]) => word),
  ),
);

test('the tables of docs/dataplane.md are those of the code', () => {
  assert.equal(withDataplane(page), page, 'run node scripts/dataplane-docs.ts');
  for (const { name } of ipvsDefaults) assert.ok(rows.has(`net.ipv4.vs.${name}`), name);
  for (const scheduler of schedulers) assert.ok(rows.has(scheduler), scheduler);
  assert.ok(rows.has('net.ipv4.conf.IFACE.arp_ignore'));
  // Negative: a page that says something else is not taken for the code's.
  assert.notEqual(
    withDataplane(page.replace('`net.ipv4.vs.sloppy_tcp` | `1`', '`net.ipv4.vs.sloppy_tcp` | `0`')),
    page.replace('`net.ipv4.vs.sloppy_tcp` | `1`', '`net.ipv4.vs.sloppy_tcp` | `0`'),
  );
});

test('a module that an error tells to load has its row', () => {
  const named = sources.flatMap(({ file, text }) =>
    [...text.matchAll(/modprobe (?:-\w+ )?([\w ${}]+)/g)].map(([, words]) => ({ file, words: words ?? '' })),
  );
  const modules = named.flatMap(({ file, words }) =>
    words
      .split(' ')
      .filter((word) => /^\w+$/.test(word))
      .map((module) => ({ file, module })),
  );
  assert.ok(
    modules.some(({ module }) => module === 'dummy') && modules.some(({ module }) => module === 'nft_masq'),
    'the search finds something',
  );
  const listed = new Set([...rows, ...schedulers.map((name) => `ip_vs_${name}`)]);
  assert.deepEqual(
    modules.filter(({ module }) => !listed.has(module)),
    [],
  );
  const tunnels = /tunnelModules = \{([^}]+)\}/.exec(sources.find(({ file }) => file.endsWith('native/links.ts'))?.text ?? '')?.[1] ?? '';
  const ofTunnels = [...tunnels.matchAll(/'(\w+)'/g)].map(([, module]) => module ?? '');
  assert.ok(ofTunnels.length >= 4);
  for (const module of ofTunnels) assert.ok(rows.has(module), module);
});

test('a setting that the code names is on the page', () => {
  const named = new Set(
    sources.flatMap(({ text }) => [...text.matchAll(/'(net\/[\w/]+)'/g)].map(([, key]) => (key ?? '').replaceAll('/', '.'))),
  );
  assert.ok(named.has('net.ipv4.ip_forward'), 'the search finds something');
  const folders = new Set(['net.ipv4.vs', 'net.ipv4.conf']);
  for (const key of named) if (!folders.has(key)) assert.ok(page.includes(key), key);
});

test('every link of the page leads somewhere', () => {
  for (const [, target = '', anchor] of page.matchAll(/\]\(([^)#:]*)(?:#([^)]*))?\)/g)) {
    if (target !== '') assert.ok(existsSync(`docs/${target}`), target);
    else assert.match(page, new RegExp(`^#+ ${anchor?.replaceAll('-', '[ -]') ?? ''}$`, 'im'), anchor);
  }
});
