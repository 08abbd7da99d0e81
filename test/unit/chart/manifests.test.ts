/** The manifests that the chart renders: valid to the field, and no more than the agent needs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { chartFolder, findHelm, renderChart, renderedFile, schemaText, valueSets } from '../../../scripts/chart.ts';
import { fieldProblems } from './field-types.ts';
import { componentsOf, manifestsOf, podOf, workloadOf, type Component } from './manifests.ts';

const sets = [...valueSets().keys()];
const helm = findHelm();
const withoutHelm = helm === undefined ? 'no Helm here; scripts/go-programs helm builds one' : false;

const sendsFrames = (component: Component, set: string): boolean => set === 'combined' || (component === 'director' && set !== 'bgp');

const eachPod = (check: (pod: ReturnType<typeof podOf>, component: Component, set: string) => void): void => {
  for (const set of sets) {
    const manifests = manifestsOf(set);
    for (const component of componentsOf(manifests)) check(podOf(manifests, component), component, set);
  }
};

test('there are sets of values, and both modes in them', () => {
  assert.deepEqual(sets, ['bgp', 'combined', 'directors', 'full', 'minimal', 'realservers']);
  assert.deepEqual(componentsOf(manifestsOf('minimal')), ['director', 'realserver']);
  assert.deepEqual(componentsOf(manifestsOf('directors')), ['director']);
  assert.deepEqual(componentsOf(manifestsOf('realservers')), ['realserver']);
});

test('the rendered manifests are what Helm makes of the chart', { skip: withoutHelm }, () => {
  for (const [set, file] of valueSets()) {
    const { status, stdout, stderr } = renderChart(helm ?? '', ['--values', file]);
    assert.equal(status, 0, stderr);
    assert.equal(stdout, readFileSync(renderedFile(set), 'utf8'), `${set}: run make docs`);
  }
});

test('values.schema.json follows the flags and the configuration', () => {
  assert.equal(readFileSync(`${chartFolder}/values.schema.json`, 'utf8'), schemaText(), 'run make docs');
});

test('Helm refuses values that would not work, and says where', { skip: withoutHelm }, () => {
  const render = (...words: string[]) => renderChart(helm ?? '', ['--set', 'interface=eth0', ...words]);
  assert.equal(render().status, 0);
  for (const [words, expected] of [
    [['--set', 'interface='], /interface, or (director|realserver)\.interface: the interface that faces the segment/],
    [['--set', 'flags.arp-rat=5'], /arp-rat/],
    [['--set', 'flags.mode=bgp'], /mode/],
    [['--set', 'realserver.flags.debug=perhaps'], /debug/],
    [['--set', 'director.kind=StatefulSet'], /kind/],
    [['--set', 'director.nodeSelector=null'], /nodeSelector/],
    [['--set', 'realserver.maxUnavailable=0'], /maxUnavailable/],
    [['--set', 'stateDirectory=run'], /stateDirectory/],
    [['--set-json', 'config={"config":{"192.0.2.1":{"99x":{"service":"web"}}}}'], /99x/],
    [['--set-json', 'config={"config":{"192.0.2.1":{"80":{"servce":"web"}}}}'], /servce/],
    [['--set', 'imgae.tag=1'], /imgae/],
    [['--set', 'natBackend=nft'], /natBackend/],
    [['--set', 'director.combined=1'], /combined/],
    [['--set', 'flags.nat-backend=nftables'], /nat-backend/],
    [['--set', 'director.mode=ospf'], /mode/],
    [['--set', 'director.mode=bgp,director.combined=true'], /director\.mode=bgp and director\.combined=true/],
    [['--set', 'director.bgp.drainSeconds=601'], /drainSeconds/],
    [['--set', 'director.bgp.drain=1'], /drain/],
    [['--set', 'flags.bgp-drain=1s'], /bgp-drain/],
    [['--set-json', 'config={"config":{},"bgp":{"peers":[{"address":"10.0.0.1"}]}}'], /asn/],
  ] as const) {
    const { status, stderr } = render(...words);
    assert.notEqual(status, 0, words.join(' '));
    assert.match(stderr, expected);
  }
});

test('every field of every manifest is one that Kubernetes has', () => {
  for (const set of sets) {
    const manifests = manifestsOf(set);
    assert.ok(manifests.length >= 6, set);
    for (const manifest of manifests) {
      const where = `${set}: ${manifest.kind} ${manifest.metadata.name}`;
      assert.deepEqual(fieldProblems(manifest, `V1${manifest.kind}`, where), []);
    }
  }
});

test('the check of fields finds what is wrong with them', () => {
  const wrong = {
    metadata: { labels: { release: 1 } },
    spec: {
      template: {
        spec: {
          hostNetwork: 'true',
          tolerations: { operator: 'Exists' },
          containers: [{ name: 'a', securityContext: { readOnlyRootFilesystem: true }, livenessProbe: { periodSecond: 5 } }],
        },
      },
    },
  };
  assert.deepEqual(fieldProblems(wrong, 'V1DaemonSet', ''), [
    '.metadata.labels.release: 1 is no string',
    '.spec.template.spec.hostNetwork: "true" is no boolean',
    '.spec.template.spec.tolerations: is no list',
    '.spec.template.spec.containers[0].livenessProbe.periodSecond: V1Probe has no such field',
  ]);
  assert.throws(() => fieldProblems({}, 'V1Ingresss', 'x'), /has no type V1Ingresss/);
});

test('a selector finds the pods of its template, and no others of the release', () => {
  for (const set of sets) {
    const manifests = manifestsOf(set);
    const selectors = componentsOf(manifests).map((component) => {
      const { spec } = workloadOf(manifests, component);
      const labels = spec?.template.metadata?.labels ?? {};
      const selector = spec?.selector.matchLabels ?? {};
      for (const [label, value] of Object.entries(selector)) assert.equal(labels[label], value);
      return JSON.stringify(selector);
    });
    assert.equal(new Set(selectors).size, selectors.length);
  }
});

test('the ConfigMap holds the configuration as JSON, numbers as they were written', () => {
  const configMap = manifestsOf('full').find(({ kind }) => kind === 'ConfigMap') as unknown as { data: Record<string, string> };
  const { config } = JSON.parse(configMap.data['green'] ?? '') as Record<string, Record<string, unknown>>;
  assert.deepEqual(config?.['192.0.2.10'], {
    '443': {
      ...{ namespace: 'shop', service: 'web', portName: 'https' },
      ipvsOptions: { scheduler: 'mh', forwardingMethod: 'i', uThreshold: 262144, lThreshold: 200000 },
    },
  });
  assert.match(configMap.data['green'] ?? '', /"uThreshold": 262144/);
  assert.equal(
    manifestsOf('minimal').find(({ kind }) => kind === 'ConfigMap'),
    undefined,
  );
});

test('a pod may do what netlink asks for, and nothing else', () => {
  eachPod(({ spec, container }, component, set) => {
    assert.deepEqual(container.securityContext, {
      ...{ privileged: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
      // Legacy tables are read through a raw socket.
      // A director that is announced by routes sends nothing on the segment.
      capabilities: { drop: ['ALL'], add: sendsFrames(component, set) ? ['NET_ADMIN', 'NET_RAW'] : ['NET_ADMIN'] },
    });
    assert.deepEqual(spec.securityContext?.seccompProfile, { type: 'RuntimeDefault' });
    assert.deepEqual([spec.hostNetwork, spec.hostPID, spec.hostIPC, spec.enableServiceLinks], [true, undefined, undefined, false]);
    assert.equal(spec.initContainers, undefined);
  });
});

test('what is mounted of the node: the state folder, the settings that the mode changes, and the lock of legacy tables where they may be used', () => {
  eachPod(({ spec, container }, component, set) => {
    const state = set === 'full' ? '/var/lib/ravel' : '/run/ravel-agent';
    const settings = component === 'director' ? '/proc/sys/net/ipv4' : '/proc/sys/net/ipv4/conf';
    const lock = '/run/xtables.lock';
    const routed = set === 'bgp' && component === 'director';
    const common = set === 'full' ? [state] : set === 'combined' ? [state, settings, lock] : [state, settings];
    const expected = routed ? [...common, '/run/gobgpd'] : common;
    const secrets = routed ? ['/etc/ravel-agent/bgp', '/etc/ravel-agent/bgp-tls'] : [];
    assert.deepEqual(
      spec.volumes?.filter(({ secret }) => secret === undefined).map(({ hostPath }) => hostPath?.path),
      expected,
    );
    assert.deepEqual(
      container.volumeMounts?.map(({ mountPath }) => mountPath),
      [...expected.map((path) => (path === settings ? `/host${path}` : path)), ...secrets],
    );
    assert.deepEqual(
      spec.volumes.flatMap(({ secret }) => (secret === undefined ? [] : [`${secret.secretName} ${secret.defaultMode}`])),
      // 0400: for root, and nobody else in the container.
      routed ? ['bgp-passwords 256', 'bgp-tls 256'] : [],
    );
    const mounted = spec.volumes.find(({ hostPath }) => hostPath?.path === lock);
    // A mount without that type would make a folder of it, which no program could lock.
    assert.equal(mounted?.hostPath?.type, set === 'combined' ? 'FileOrCreate' : undefined);
  });
});

test('a director that is announced by routes has the time to send its clients elsewhere; the others stop as ever', () => {
  const grace = (set: string, component: Component): number | undefined =>
    podOf(manifestsOf(set), component).spec.terminationGracePeriodSeconds;
  assert.deepEqual([grace('bgp', 'director'), grace('bgp', 'realserver'), grace('directors', 'director')], [45, 15, 15]);
});

test('every container says what it needs and where that ends', () => {
  eachPod(({ container }) => {
    const requests = container.resources?.requests ?? {};
    const limits = container.resources?.limits ?? {};
    assert.ok(requests['cpu'] !== undefined && requests['memory'] !== undefined && limits['memory'] !== undefined);
  });
});

test('realservers run on every node that is no director', () => {
  const { spec } = podOf(manifestsOf('minimal'), 'realserver');
  assert.deepEqual(spec.tolerations, [{ operator: 'Exists' }]);
  const terms = (set: string) =>
    podOf(manifestsOf(set), 'realserver').spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  assert.deepEqual(terms('minimal'), [{ matchExpressions: [{ key: 'ravel.io/director', operator: 'NotIn', values: ['true'] }] }]);
  assert.equal(terms('full')?.length, 2, 'a node that lacks one of two labels is no director');
  assert.equal(terms('realservers'), undefined);
});

test('one director as a Deployment is never two for a moment', () => {
  const director = workloadOf(manifestsOf('minimal'), 'director') as unknown as {
    kind: string;
    spec: { replicas: number; strategy: { type: string } };
  };
  assert.deepEqual([director.kind, director.spec.replicas, director.spec.strategy.type], ['Deployment', 1, 'Recreate']);
  assert.equal(workloadOf(manifestsOf('directors'), 'director').kind, 'DaemonSet');
  assert.deepEqual(workloadOf(manifestsOf('full'), 'realserver').spec?.updateStrategy?.rollingUpdate, { maxUnavailable: 5 });
});
