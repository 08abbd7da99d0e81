import { existsSync } from 'node:fs';
import path from 'node:path';

/** Path of a bundled program of the lab (`scripts/bundle-tests.ts` builds them). */
export function program(name: string): string {
  const file = path.resolve('build/lab', `${name}.mjs`);
  if (!existsSync(file)) throw new Error(`${file} is not built: run scripts/bundle-tests.ts`);
  return file;
}
