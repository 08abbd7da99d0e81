/** A kubeconfig file as bytes: read, parsed, and every field that matters of the type that it should have. */
import { readFile } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { AccessError } from './access.ts';

/** kubeconfig files have some kilobytes. */
const longestFile = 4 * 1024 * 1024;

const text = z.string().nullish();
const shape = z.looseObject({
  'current-context': text,
  clusters: z
    .array(
      z.looseObject({
        name: text,
        cluster: z
          .looseObject({
            ...{ server: text, 'certificate-authority': text, 'certificate-authority-data': text },
            ...{ 'insecure-skip-tls-verify': z.boolean().nullish(), 'tls-server-name': text, 'proxy-url': text },
          })
          .nullish(),
      }),
    )
    .nullish(),
  users: z
    .array(
      z.looseObject({
        name: text,
        user: z
          .looseObject({
            ...{ token: text, tokenFile: text, 'token-file': text, username: text, password: text, as: text },
            ...{ 'client-certificate': text, 'client-certificate-data': text, 'client-key': text, 'client-key-data': text },
          })
          .nullish(),
      }),
    )
    .nullish(),
  contexts: z
    .array(z.looseObject({ name: text, context: z.looseObject({ cluster: text, user: text, namespace: text }).nullish() }))
    .nullish(),
});

/** `users[0].user.token` */
function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
}

export interface KubeconfigFile {
  /** As JSON, which is YAML, without the `token-file`s: KubeConfig would read those once, and from where the process stands. */
  readonly text: string;
  /** User → path of its token file, as written. */
  readonly tokenFiles: ReadonlyMap<string, string>;
}

/** @throws AccessError that quotes nothing of what is in the file */
export async function readKubeconfig(file: string): Promise<KubeconfigFile> {
  const bytes = await readFile(file).catch((error: unknown) => {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable';
    throw new AccessError(`${file}: ${code === 'ENOENT' ? 'no such file' : `cannot be read (${code})`}`);
  });
  if (bytes.length > longestFile) throw new AccessError(`${file}: is longer than ${longestFile} bytes`);
  // Pretty errors would quote the lines around, and a secret may stand there.
  const document = parseDocument(bytes.toString('utf8'), { prettyErrors: false });
  const [problem] = document.errors;
  if (problem !== undefined) throw new AccessError(`${file}: is no YAML (${problem.code} at character ${problem.pos[0]})`);
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: 100 });
  } catch {
    throw new AccessError(`${file}: has aliases that stand for too much, or for nothing`);
  }
  const result = shape.safeParse(content);
  if (!result.success) {
    const [issue] = result.error.issues;
    const path = pathText(issue?.path ?? []);
    // Of a wrong type only the type is said.
    throw new AccessError(`${file}: ${path === '' ? 'is no kubeconfig: a map is expected' : `${path}: ${issue?.message ?? 'wrong'}`}`);
  }
  const tokenFiles = new Map<string, string>();
  for (const { name, user } of result.data.users ?? []) {
    if (name === undefined || name === null || user === undefined || user === null) continue;
    const tokenFile = user.tokenFile ?? user['token-file'];
    if (typeof tokenFile === 'string' && tokenFile !== '') tokenFiles.set(name, tokenFile);
    delete user['token-file'];
  }
  return { text: JSON.stringify(result.data), tokenFiles };
}
