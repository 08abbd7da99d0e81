/**
 * The files of the container image, without a container: laid out below a folder with no more of a base than the runtime
 * libraries, root file system read-only, environment empty. What is not proven here is the base images themselves.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, globSync, lstatSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { promisify } from 'node:util';
import { temporaryDirectory } from '../temporary-directory.ts';

const run = promisify(execFile);
let root = '';

/** Shared libraries that a program or addon asks for, and the loader. */
async function librariesOf(file: string): Promise<string[]> {
  const { stdout } = await run('ldd', [file]);
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path ?? '');
}

const files = (): string[] =>
  globSync('**/*', { cwd: root })
    .filter((path) => !lstatSync(join(root, path)).isDirectory())
    .sort();

before(async () => {
  root = temporaryDirectory('image');
  chmodSync(root, 0o755);
  await run('scripts/image-root', [root]);
});

test('the image holds the agent, its addon and Node.js, and no tool beside them', () => {
  const found = files().filter((path) => !/^app\/dist\/ravel-agent-[A-Z0-9]+\.js$/.test(path));
  const legacy = ['app/dist/iptables.node', 'libip4tc.so.2', 'libip6tc.so.2'];
  const isLegacy = (path: string): boolean => legacy.some((name) => path === name || path.endsWith(`/${name}`));
  // Built where the headers of libiptc are; then it brings the two libraries, and nothing else does.
  const built = existsSync('build/Release/iptables.node');
  assert.deepEqual(found.filter(isLegacy).length, built ? 3 : 0, found.join());
  const licenses = ['usr/share/doc/ravel-agent/LICENSE', 'usr/share/doc/ravel-agent/LICENSE.node'];
  assert.deepEqual(
    found.filter((path) => !licenses.includes(path) && !isLegacy(path)),
    ['app/dist/ravel-agent.js', 'app/dist/ravel.node', 'app/package.json', 'usr/local/bin/node', 'usr/local/bin/ravel-agent'],
  );
  assert.ok(found.includes('usr/share/doc/ravel-agent/LICENSE'));
});

test('the backend for legacy iptables can be left out', async () => {
  const without = temporaryDirectory('image-without');
  await run('scripts/image-root', [without], { env: { ...process.env, IPTABLES: 'no' } });
  assert.deepEqual(
    globSync('**/*ip*t*', { cwd: without }).filter((path) => /iptables\.node|libip.*tc/.test(path)),
    [],
  );
  assert.ok(existsSync(join(without, 'app/dist/ravel.node')));
});

test('the Dockerfile takes the Node.js that the tests run on, and packs what this test looks at', () => {
  const dockerfile = readFileSync('Dockerfile', 'utf8');
  const pinned = /^VERSION=(.+)$/m.exec(readFileSync('scripts/node', 'utf8'))?.[1] ?? '';
  assert.match(dockerfile, new RegExp(`^ARG NODE_VERSION=${pinned.replaceAll('.', '\\.')}$`, 'm'));
  assert.match(dockerfile, /^RUN make bundle && scripts\/image-root \/image$/m);
  assert.match(dockerfile, /^ENTRYPOINT \["\/usr\/local\/bin\/ravel-agent"\]$/m);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  assert.match(readFileSync('charts/ravel-agent/Chart.yaml', 'utf8'), new RegExp(`^appVersion: ${version.replaceAll('.', '\\.')}$`, 'm'));
});

test('the agent works on a read-only root with the runtime libraries, an empty environment and nothing else', async () => {
  const image = files();
  for (const object of ['usr/local/bin/node', 'app/dist/ravel.node'])
    for (const library of await librariesOf(join(root, object))) {
      mkdirSync(dirname(join(root, library)), { recursive: true });
      copyFileSync(realpathSync(library), join(root, library));
    }
  const added = files().filter((path) => !image.includes(path));
  assert.deepEqual(
    added.filter((path) => !/\/(ld-linux-[a-z0-9-]+|lib(c|m|dl|pthread|stdc\+\+|gcc_s|atomic))\.so\.\d+$/.test(path)),
    [],
    'a base without a shell has the C and C++ runtime only',
  );
  for (const folder of ['proc', 'run', 'etc']) mkdirSync(join(root, folder), { recursive: true });
  const state = { nodes: [{ name: 'n1', addresses: ['10.20.0.11'] }], config: { '192.0.2.10': { 80: { service: 'web' } } } };
  writeFileSync(join(root, 'etc/cluster.json'), JSON.stringify({ ...state, services: [{ name: 'web', ports: [{ port: 80 }] }] }));
  // A mount of its own can be made read-only; /proc and /run are what a container runtime gives.
  const script = `mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && mount --rbind /proc "$1/proc" && mount -t tmpfs tmpfs "$1/run"
    shift; exec env -i "$(PATH=$PATH:/usr/sbin:/sbin command -v chroot)" "$@"`;
  const within = (...words: string[]) =>
    run('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', root, root, '/usr/local/bin/ravel-agent', ...words]);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  assert.match((await within('version')).stdout, new RegExp(version.replaceAll('.', '\\.')));
  // The kernel is read through the addon, so the addon has been loaded.
  const { stdout } = await within(
    'plan',
    '--mode=realserver',
    '--compute-iface=lo',
    '--nodename=n1',
    '--source-file=/etc/cluster.json',
    '-o',
    'json',
  ).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== 2) throw error;
    return error as { stdout: string };
  });
  const { changes } = JSON.parse(stdout) as { changes: { kind: string; vip: string | null }[] };
  assert.ok(
    changes.some(({ kind, vip }) => kind === 'address' && vip === '192.0.2.10'),
    stdout,
  );
  await assert.rejects(within('plan', '--mode=realserver', '--source-file=/no-such-file'), { code: 1 });
});
