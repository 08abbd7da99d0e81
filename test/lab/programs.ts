import { existsSync } from 'node:fs';
import path from 'node:path';

/** Path of a bundled program of the lab (`scripts/bundle-tests.ts` builds them). */
export function program(name: string): string {
  const file = path.resolve('build/lab', `${name}.mjs`);
  if (!existsSync(file)) throw new Error(`${file} is not built: run scripts/bundle-tests.ts`);
  return file;
}

/** Path of a program of the lab in C (`scripts/lab-programs` compiles them). */
export function compiled(name: string): string {
  const file = path.resolve('build/lab', name);
  if (!existsSync(file)) throw new Error(`${file} is not built: scripts/lab-programs does it`);
  return file;
}
