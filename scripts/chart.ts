/**
 * What of the chart is derived, so that it cannot drift: values.schema.json from the flags and the configuration's own
 * schema, and the rendered manifests that the tests look at, one file per set of values in charts/ravel-agent/ci.
 *   scripts/chart.ts          writes both; the manifests only where Helm is
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, globSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { flags, type Flag, type FlagName } from '../src/cli/flags.ts';
import { clusterConfigSchema } from '../src/model/config-schema.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
export const chartFolder = join(root, 'charts/ravel-agent');
const renderedFolder = join(root, 'test/unit/chart/rendered');
const schemaFile = join(chartFolder, 'values.schema.json');

/** Values that the chart gives a place of their own, or that make no sense in a pod. */
const ownedByChart: ReadonlySet<FlagName> = new Set<FlagName>([
  ...(['mode', 'nodename', 'compute-iface', 'config-name', 'config-namespace', 'config-key', 'agent-namespace'] as const),
  ...(['source-file', 'kubeconfig', 'state-dir', 'sysctl-dir', 'nat-backend'] as const),
  ...(['bgp-endpoint', 'bgp-communities', 'bgp-drain', 'bgp-tls-ca', 'bgp-tls-cert', 'bgp-tls-key'] as const),
]);

type JsonSchema = Record<string, unknown>;

const strict = (properties: Record<string, JsonSchema>, more: JsonSchema = {}): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  properties,
  ...more,
});
const text = (description?: string): JsonSchema => ({ type: 'string', ...(description === undefined ? {} : { description }) });
const mapOfTexts: JsonSchema = { type: 'object', additionalProperties: { type: 'string' } };
const anyMap: JsonSchema = { type: 'object' };
const listOfMaps: JsonSchema = { type: 'array', items: anyMap };
/** Whole number or percentage, as Kubernetes takes it. */
const share: JsonSchema = {
  anyOf: [
    { type: 'integer', minimum: 1 },
    { type: 'string', pattern: '^[1-9][0-9]?%$|^100%$' },
  ],
};

function flagSchema({ kind, about }: Flag): JsonSchema {
  if (kind === 'switch') return { type: 'boolean', description: about };
  if (kind === 'list') return { type: ['string', 'array'], items: { type: 'string' }, description: about };
  return { type: ['string', 'number'], description: about };
}

function flagsSchema(): JsonSchema {
  const names = (Object.keys(flags) as FlagName[]).filter((name) => !ownedByChart.has(name));
  return strict(Object.fromEntries(names.map((name) => [name, flagSchema(flags[name])])), { description: 'Flags of the agent, by name.' });
}

/** Longest of --bgp-drain. */
const longestDrainSeconds = 600;

const bgpValues: JsonSchema = strict({
  endpoint: { type: 'string', minLength: 1 },
  communities: { type: 'array', items: text() },
  drainSeconds: { type: 'integer', minimum: 0, maximum: longestDrainSeconds },
  passwordSecret: text(),
  tlsSecret: text(),
  tlsClient: { type: 'boolean' },
});

const reference = (name: string): JsonSchema => ({ $ref: `#/definitions/${name}` });

function agentSchema(more: Record<string, JsonSchema> = {}): JsonSchema {
  const properties = {
    enabled: { type: 'boolean' },
    nodeSelector: mapOfTexts,
    tolerations: listOfMaps,
    interface: { type: 'string', pattern: '^[^\\s/:]{0,15}$' },
    flags: reference('flags'),
    priorityClassName: text(),
    resources: anyMap,
    maxUnavailable: share,
    terminationGracePeriodSeconds: { type: 'integer', minimum: 0 },
    podAnnotations: mapOfTexts,
    podLabels: mapOfTexts,
    ...more,
  };
  // A null takes a default away; an agent has none of these by itself.
  return strict(properties, { required: ['enabled', 'flags', 'nodeSelector'] });
}

export function valuesSchema(): JsonSchema {
  const configuration = z.toJSONSchema(clusterConfigSchema, { io: 'input', target: 'draft-7', unrepresentable: 'any' });
  delete configuration.$schema;
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Values of the chart ravel-agent',
    definitions: { flags: flagsSchema(), configuration },
    ...strict({
      image: strict({ repository: text(), tag: text(), pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] } }),
      imagePullSecrets: listOfMaps,
      nameOverride: text(),
      fullnameOverride: text(),
      interface: { type: 'string', pattern: '^[^\\s/:]{0,15}$' },
      configMap: strict({ namespace: text(), name: { type: 'string', minLength: 1 }, key: { type: 'string', minLength: 1 } }),
      config: { anyOf: [{ type: 'null' }, reference('configuration')] },
      natBackend: { enum: ['auto', 'nftables', 'iptables'] },
      flags: reference('flags'),
      // A director without a chosen node would be put anywhere, and leave its VIPs behind when it moves.
      director: agentSchema({
        kind: { enum: ['Deployment', 'DaemonSet'] },
        combined: { type: 'boolean' },
        mode: { enum: ['arp', 'bgp'] },
        bgp: bgpValues,
        nodeSelector: { ...mapOfTexts, minProperties: 1 },
      }),
      realserver: agentSchema(),
      serviceAccount: strict({ annotations: mapOfTexts }),
      stateDirectory: { type: 'string', pattern: '^/' },
      sysctls: strict({ mount: { type: 'boolean' } }),
      global: { ...anyMap, description: 'Where this chart is a part of another, Helm puts its values here.' },
    }),
  };
}

export const schemaText = (): string => `${JSON.stringify(valuesSchema(), null, 2)}\n`;

/** `minimal`, `full`, … → file of values. */
export function valueSets(): ReadonlyMap<string, string> {
  const files = globSync(join(chartFolder, 'ci/*-values.yaml')).sort();
  return new Map(files.map((file) => [basename(file, '-values.yaml'), file]));
}

export const renderedFile = (set: string): string => join(renderedFolder, `${set}.yaml`);

/** $HELM, the one on the path, or the one that `scripts/go-programs helm` has built; undefined: there is none. */
export function findHelm(): string | undefined {
  const chosen = process.env['HELM'];
  if (chosen !== undefined && chosen !== '') return chosen;
  const cache = spawnSync(join(root, 'scripts/cache-dir'), { encoding: 'utf8' }).stdout.trim();
  const onPath = (process.env['PATH'] ?? '').split(':').map((folder) => join(folder, 'helm'));
  return [...onPath, ...globSync(`${cache}/helm-v*/helm`).sort().reverse()].find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export interface HelmAnswer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `helm template` of the chart as release `ravel-agent` in namespace `ravel`. Throws when Helm does not start. */
export function renderChart(helm: string, words: readonly string[]): HelmAnswer {
  const { status, stdout, stderr, error } = spawnSync(
    helm,
    ['template', 'ravel-agent', chartFolder, '--namespace', 'ravel', '--skip-tests', ...words],
    { encoding: 'utf8' },
  );
  if (error !== undefined) throw error;
  return { status, stdout, stderr };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(schemaFile, schemaText());
  const helm = findHelm();
  if (helm === undefined) {
    process.stderr.write('scripts/chart.ts: no Helm here, the rendered manifests stay as they are (scripts/go-programs helm builds one)\n');
  } else {
    mkdirSync(renderedFolder, { recursive: true });
    for (const [set, file] of valueSets()) {
      const { status, stdout, stderr } = renderChart(helm, ['--values', file]);
      if (status !== 0) throw new Error(`${file}: ${stderr}`);
      writeFileSync(renderedFile(set), stdout);
    }
  }
}
