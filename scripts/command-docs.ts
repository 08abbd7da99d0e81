/**
 * Fills the marked blocks of docs/commands.md from the code: the flags from their table, the output schemas from what
 * the commands validate. `--check` writes nothing and exits 1 when the page is out of date.
 */
import { fileURLToPath } from 'node:url';
import { deadFlags, environmentName, flags, shownDefault, type Flag } from '../src/cli/flags.ts';
import { jsonSchemaOf, outputSchemas } from '../src/cli/schemas.ts';
import { updatePage } from './doc-page.ts';

function defaultOf(flag: Flag): string {
  const shown = shownDefault(flag);
  return shown === undefined || flag.defaultText !== undefined ? (shown ?? '') : `\`${shown}\``;
}

function flagTable(): string {
  const rows = Object.entries(flags as Record<string, Flag>).map(
    ([name, flag]) => `| \`--${name}\` | \`${environmentName(name)}\` | ${defaultOf(flag)} | ${flag.about} |`,
  );
  return ['| flag | environment | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

function deadTable(): string {
  const rows = Object.entries(deadFlags).map(([name, why]) => `| \`--${name}\` | ${why} |`);
  return ['| flag | why it has no effect |', '|---|---|', ...rows].join('\n');
}

interface Schema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
}

/** `string`, `"ok" | "warn"`, `string or null`. */
function typeOf(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map((word) => JSON.stringify(word)).join(' \\| ');
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeOf).join(' or ');
  return schema.type === 'array' ? 'list' : String(schema.type ?? 'any');
}

/** One row for each field, nested ones by their path. */
function fieldRows(schema: Schema, prefix: string): string[] {
  const inner = schema.anyOf?.find((part) => part.type !== 'null') ?? schema;
  if (inner.items !== undefined) return fieldRows(inner.items, `${prefix}[]`);
  return Object.entries(inner.properties ?? {}).flatMap(([name, field]) => {
    const full = prefix === '' ? name : `${prefix}.${name}`;
    return [`| \`${full}\` | ${typeOf(field)} | ${field.description ?? ''} |`, ...fieldRows(field, full)];
  });
}

function schemaTable(name: string): string {
  const schema = outputSchemas[name];
  if (schema === undefined) throw new Error(`docs/commands.md asks for the schema of ${name}`);
  return ['| field | type | meaning |', '|---|---|---|', ...fieldRows(jsonSchemaOf(schema), '')].join('\n');
}

/** The page with every marked block made anew. */
export function withCommands(page: string): string {
  return page.replace(
    /<!-- (flags|dead-flags|schema: (\w+)) -->\n[^]*?<!-- \/\1 -->/g,
    (_whole, name: string, command: string | undefined) => {
      const content = name === 'flags' ? flagTable() : name === 'dead-flags' ? deadTable() : schemaTable(command ?? '');
      return `<!-- ${name} -->\n\n${content}\n\n<!-- /${name} -->`;
    },
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) updatePage('commands.md', withCommands);
