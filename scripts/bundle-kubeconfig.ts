/**
 * Of @kubernetes/client-node the agent uses one class, KubeConfig, to understand kubeconfig files. That class brings along
 * the generated client, an HTTP client, proxies, and log-in plugins that start programs. None of that is ever called
 * (src/kubernetes/kubeconfig.ts refuses files that would need it), so none of it is released: the agent holds 18 MiB
 * less, and the program contains no code that could start a process.
 */
import type { Plugin } from 'esbuild';

/** What config.js of the client imports, and the agent never reaches. */
const leftOut = new Set([
  './gen/index.js',
  './azure_auth.js',
  './exec_auth.js',
  './gcp_auth.js',
  './oidc_auth.js',
  'node-fetch',
  'socks-proxy-agent',
  'hpagent',
  'node:child_process',
]);

/** Stands for each of them: KubeConfig makes one of each log-in plugin when it is created, and asks none of them. */
const nothing = `
class Absent { constructor(...arguments_) { if (arguments_.length > 0) throw new Error('left out of the bundle'); } }
const absent = () => { throw new Error('left out of the bundle'); };
export { Absent as AzureAuth, Absent as ExecAuth, Absent as GoogleCloudPlatformAuth, Absent as OpenIDConnectAuth };
export { Absent as Headers, Absent as HttpProxyAgent, Absent as HttpsProxyAgent, Absent as ServerConfiguration, Absent as SocksProxyAgent };
export { absent as createConfiguration };
export default { spawnSync: absent };
`;

export const onlyKubeConfig: Plugin = {
  name: 'only-kubeconfig',
  setup(build) {
    build.onResolve({ filter: /./ }, ({ path, importer }) =>
      leftOut.has(path) && importer.endsWith('/@kubernetes/client-node/dist/config.js') ? { path, namespace: 'left-out' } : undefined,
    );
    build.onLoad({ filter: /./, namespace: 'left-out' }, () => ({ contents: nothing, loader: 'js' }));
  },
};
