/** How each layer of tests is run. */
import { e2e, NO_TOOLCHAIN } from './e2e.ts';
import {
  collect,
  collectGuest,
  compiledPrograms,
  execute,
  freshFolder,
  freshResults,
  inNamespaces,
  nodeTestArguments,
  testFiles,
  unshareCommand,
} from './process.ts';
import { addFailure, addNativeOutput, type LayerResult } from './results.ts';

/** All that need the machine, under emulation and in company. */
const VM_LIMIT_MS = 40 * 60_000;

/** Files of a folder, each in a process of its own, two at a time. */
function plain(folder: string, wrapper: readonly string[] = []): (result: LayerResult) => Promise<void> {
  return async (result) => {
    const files = testFiles(folder);
    if (files.length === 0) return;
    const results = freshResults(result.layer);
    const ended = await execute([...wrapper, process.execPath, ...nodeTestArguments(results, ['--test-concurrency=2']), ...files], false);
    collect(result, results, ended);
  };
}

/** The tests of the addon make namespaces themselves, which takes root or a user namespace. */
async function native(result: LayerResult): Promise<void> {
  const wrapper = process.getuid?.() === 0 ? [] : ((await unshareCommand()) ?? []);
  const core = await execute([...wrapper, 'scripts/test-native-core'], false, 5 * 60_000);
  addNativeOutput(result, core.output, core.status);
  await plain('test/native', wrapper)(result);
}

/** GoBGP 4 for the tests that speak with it, once per version; where it cannot be built they say why they were skipped. */
async function gobgp(result: LayerResult): Promise<boolean> {
  const ended = await execute(['scripts/go-programs', 'gobgp'], true);
  const able = ended.status === 0 || ended.status === NO_TOOLCHAIN;
  if (!able) addFailure(result, `scripts/go-programs gobgp ended with status ${ended.status}:\n${ended.output.slice(-4000)}`);
  return able;
}

async function netns(result: LayerResult): Promise<void> {
  if (!(await gobgp(result))) return;
  await inNamespaces(result, testFiles('test/netns'));
}

/** All files bundled, in one start of the machine, each in a process and namespaces of its own. */
async function vm(result: LayerResult): Promise<void> {
  if (!(await compiledPrograms(result)) || !(await gobgp(result))) return;
  const bundled = await execute([process.execPath, 'scripts/bundle-tests.ts'], false);
  if (bundled.status !== 0) {
    addFailure(result, `bundling failed:\n${bundled.output}`);
    return;
  }
  const out = freshFolder('build/vm-out/results');
  const ended = await execute(['test/vm/run', '--timeout', `${VM_LIMIT_MS / 1000 - 30}`, '--', 'test/vm/suite'], true, VM_LIMIT_MS);
  collectGuest(result, out, testFiles('test/vm-suite').length, ended);
}

export const layers: ReadonlyMap<string, (result: LayerResult) => Promise<void>> = new Map([
  ['unit', plain('test/unit')],
  ['property', plain('test/property')],
  ['fake', plain('test/fake-kernel')],
  ['native', native],
  ['netns', netns],
  ['vm', vm],
  ['e2e', e2e],
]);

/** Those that `make test` leaves to a target of their own. */
export const separate: ReadonlySet<string> = new Set(['e2e']);
