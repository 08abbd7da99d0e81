/**
 * Writes docs/native.md from the docstrings of what src/native/index.ts exports, so that the reference
 * cannot disagree with the code. `--check` writes nothing and exits 1 when the file is out of date.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const entry = join(root, 'src/native/index.ts');
const output = join(root, 'docs/native.md');

const program = ts.createProgram([entry], {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ESNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  allowImportingTsExtensions: true,
  noEmit: true,
  strict: true,
  types: ['node'],
});
const checker = program.getTypeChecker();
const printer = ts.createPrinter({ removeComments: true });

const documentation = (symbol: ts.Symbol): string => ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim();

/** Docstring tags (`@example`, `@throws`) as Markdown. */
function tags(symbol: ts.Symbol): string {
  return symbol
    .getJsDocTags(checker)
    .map((tag) => {
      const text = ts.displayPartsToString(tag.text).trim();
      return tag.name === 'example' ? (text.startsWith('```') ? text : `\`\`\`ts\n${text}\n\`\`\``) : `*${tag.name}* ${text}`;
    })
    .join('\n\n');
}

const isHidden = (member: ts.Declaration): boolean =>
  (ts.getCombinedModifierFlags(member) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) !== 0 ||
  ts.getJSDocTags(member).some((tag) => tag.tagName.text === 'internal') ||
  (ts.isClassElement(member) && member.name !== undefined && ts.isPrivateIdentifier(member.name));

function signature(declaration: ts.Declaration): string {
  let node: ts.Node = declaration;
  if (ts.isFunctionDeclaration(declaration)) {
    const { modifiers, asteriskToken, name, typeParameters, parameters, type } = declaration;
    node = ts.factory.updateFunctionDeclaration(declaration, modifiers, asteriskToken, name, typeParameters, parameters, type, undefined);
  } else if (ts.isMethodDeclaration(declaration)) {
    const { modifiers, asteriskToken, name, questionToken, typeParameters, parameters, type } = declaration;
    const kept = modifiers?.filter((modifier) => modifier.kind !== ts.SyntaxKind.AsyncKeyword);
    node = ts.factory.updateMethodDeclaration(
      declaration,
      kept,
      asteriskToken,
      name,
      questionToken,
      typeParameters,
      parameters,
      type,
      undefined,
    );
  } else if (ts.isGetAccessorDeclaration(declaration)) {
    const { modifiers, name, parameters, type } = declaration;
    node = ts.factory.updateGetAccessorDeclaration(declaration, modifiers, name, parameters, type, undefined);
  }
  return printer.printNode(ts.EmitHint.Unspecified, node, declaration.getSourceFile()).replace(/;$/, '');
}

function classSection(declaration: ts.ClassDeclaration): string {
  const lines: string[] = [];
  for (const member of declaration.members) {
    if (isHidden(member) || ts.isConstructorDeclaration(member) || member.name === undefined) continue;
    const symbol = checker.getSymbolAtLocation(member.name);
    // The `name` of an error class is the heading already.
    if (symbol === undefined || (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Override) !== 0) continue;
    const text = documentation(symbol);
    lines.push(`#### \`${signature(member).replace(/\s+/g, ' ')}\``, '', ...(text === '' ? [] : [text, '']));
    const extra = tags(symbol);
    if (extra !== '') lines.push(extra, '');
  }
  return lines.join('\n');
}

function section(symbol: ts.Symbol): string {
  const target = (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
  const declaration = target.declarations?.[0];
  if (declaration === undefined) return '';
  const parts = [`### ${symbol.name}`, '', documentation(target), '', tags(target), ''];
  if (ts.isClassDeclaration(declaration)) {
    parts.push(classSection(declaration));
  } else if (ts.isVariableDeclaration(declaration)) {
    parts.push('```ts', `const ${symbol.name}: ${checker.typeToString(checker.getTypeOfSymbol(target))}`, '```');
  } else {
    // The source text keeps the members' own comments, which are half of the documentation.
    const text = ts.isFunctionDeclaration(declaration) ? signature(declaration) : declaration.getText();
    parts.push('```ts', text, '```');
  }
  return parts.filter((part, index) => part !== '' || parts[index - 1] !== '').join('\n');
}

const source = program.getSourceFile(entry);
const moduleSymbol = source === undefined ? undefined : checker.getSymbolAtLocation(source);
if (moduleSymbol === undefined) throw new Error(`${entry} is not a module`);

const kindOf = (symbol: ts.Symbol): 'Classes' | 'Functions and constants' | 'Types' => {
  const target = (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
  if ((target.flags & ts.SymbolFlags.Class) !== 0) return 'Classes';
  return (target.flags & (ts.SymbolFlags.Function | ts.SymbolFlags.Variable)) !== 0 ? 'Functions and constants' : 'Types';
};

const exported = checker.getExportsOfModule(moduleSymbol).sort((a, b) => a.name.localeCompare(b.name, 'en'));
const body = (['Classes', 'Functions and constants', 'Types'] as const).map((kind) => {
  const symbols = exported.filter((symbol) => kindOf(symbol) === kind);
  return [`## ${kind}`, '', ...symbols.map((symbol) => `${section(symbol)}\n`)].join('\n');
});

const intro = `<!-- Generated by scripts/generate-native-docs.ts (make docs); do not edit. -->

# ravel-agent/native

Netlink and packet sockets for Node.js: IPVS, nftables, links, addresses, routes, neighbours and gratuitous
ARP, without forking a process. Usable alone:

\`\`\`js
import { Ipvs } from 'ravel-agent/native';

const ipvs = await Ipvs.open();
console.log(await ipvs.services());
await ipvs.close();
\`\`\`

Everything is asynchronous. Calls on handles of one \`Netns\` run first in, first out, on a thread of that
namespace; two namespaces run in parallel. Kernel refusals are \`KernelError\`; a missing module is an
\`UnsupportedError\` that names it. Writing needs CAP_NET_ADMIN, packet sockets need CAP_NET_RAW.
`;
const text = `${[intro, ...body]
  .join('\n')
  .replace(/\n{3,}/g, '\n\n')
  .trimEnd()}\n`;

if (process.argv.includes('--check')) {
  let current = '';
  try {
    current = readFileSync(output, 'utf8');
  } catch {
    // A missing file is an outdated one.
  }
  if (current !== text) {
    console.error('docs/native.md is out of date: run `make docs`');
    process.exit(1);
  }
} else {
  writeFileSync(output, text);
  console.log(`docs/native.md: ${String(exported.length)} exports`);
}
