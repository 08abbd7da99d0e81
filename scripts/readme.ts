/**
 * Fills the marked blocks of README.md, so that what it shows is what runs: examples from their files, the
 * demo's closing table and the bench table from their last runs on this machine. `--check` only compares the examples.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const path = join(root, 'README.md');

const fence = (language: string, text: string): string => `\`\`\`${language}\n${text.trimEnd()}\n\`\`\``;

/** The text between `<!-- <name> -->` and `<!-- /<closing> -->`. */
function fill(readme: string, name: string, closing: string, content: string): string {
  const start = `<!-- ${name} -->`;
  const end = `<!-- /${closing} -->`;
  const from = readme.indexOf(start);
  const to = readme.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`README.md has no block ${name}`);
  return `${readme.slice(0, from + start.length)}\n\n${content}\n\n${readme.slice(to)}`;
}

export function withExamples(readme: string): string {
  let text = readme;
  for (const [, file] of readme.matchAll(/<!-- example: (\S+) -->/g)) {
    if (file === undefined) continue;
    text = fill(text, `example: ${file}`, 'example', fence('js', readFileSync(join(root, file), 'utf8')));
  }
  return text;
}

function withFigures(readme: string): string {
  let text = readme;
  for (const [block, file] of [
    ['demo-output', 'build/demo.txt'],
    ['bench-output', 'build/bench.txt'],
    ['e2e-output', 'build/e2e.txt'],
  ] as const) {
    const full = join(root, file);
    if (existsSync(full)) text = fill(text, block, block, fence('', readFileSync(full, 'utf8')));
  }
  return text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const current = readFileSync(path, 'utf8');
  if (process.argv.includes('--check')) {
    if (withExamples(current) !== current) {
      console.error('README.md shows an example that is not the file: run `make docs`');
      process.exit(1);
    }
  } else {
    writeFileSync(path, withFigures(withExamples(current)));
  }
}
