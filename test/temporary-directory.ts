/** Directories for tests. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

let root: string | undefined;
let count = 0;

/**
 * A new, empty directory that is gone when the process ends, however the tests in it went. All of a process lie in one
 * (`ravel-test-…` among the system's temporary ones), so that a process that was killed leaves no more than that.
 */
export function temporaryDirectory(purpose: string): string {
  if (root === undefined) {
    const made = mkdtempSync(path.join(tmpdir(), 'ravel-test-'));
    // A program that a test started may be writing its last file.
    process.on('exit', () => rmSync(made, { recursive: true, force: true, maxRetries: 5 }));
    root = made;
  }
  const directory = path.join(root, `${purpose}-${count++}`);
  mkdirSync(directory, { mode: 0o700 });
  return directory;
}
