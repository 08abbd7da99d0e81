/**
 * The peer: the client library's own informers on the same API server, for the kinds that a realserver follows. They do
 * nothing with what they get but count it. Prints `synced`, then the resourceVersion of each EndpointSlice that changes.
 *   informer.mjs KUBECONFIG NAMESPACE OBJECTS
 */
import { CoreV1Api, DiscoveryV1Api, KubeConfig, makeInformer, type KubernetesObject, type ListPromise } from '@kubernetes/client-node';

const [path = '', namespace = '', objects = '0'] = process.argv.slice(2);
const config = new KubeConfig();
config.loadFromFile(path);
const core = config.makeApiClient(CoreV1Api);
const discovery = config.makeApiClient(DiscoveryV1Api);
let missing = Number(objects);

async function follow<Item extends KubernetesObject>(
  resource: string,
  list: ListPromise<Item>,
  onUpdate: (item: Item) => void,
): Promise<void> {
  const informer = makeInformer(config, resource, list);
  informer.on('add', () => {
    missing -= 1;
    if (missing === 0) process.stdout.write('synced\n');
  });
  informer.on('update', onUpdate);
  informer.on('error', (error: unknown) => {
    throw error;
  });
  await informer.start();
}

await Promise.all([
  follow(
    '/api/v1/services',
    () => core.listServiceForAllNamespaces(),
    () => {},
  ),
  follow(
    '/apis/discovery.k8s.io/v1/endpointslices',
    () => discovery.listEndpointSliceForAllNamespaces(),
    ({ metadata }) => {
      process.stdout.write(`${metadata?.resourceVersion ?? ''}\n`);
    },
  ),
  follow(
    `/api/v1/namespaces/${namespace}/configmaps`,
    () => core.listNamespacedConfigMap({ namespace }),
    () => {},
  ),
]);
