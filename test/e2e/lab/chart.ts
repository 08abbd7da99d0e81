/** The chart's manifests as Helm rendered them on the host: what the agents may do, and how they are started. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { manifests, type Manifest } from '../harness/manifest.ts';

export const manifestFile = resolve('build/e2e/manifests.yaml');
/** Release and namespace that the runner renders with. */
export const RELEASE = 'ravel-agent';
export const NAMESPACE = 'ravel';
export const CONFIG_NAME = 'ravel-config';
export const CONFIG_KEY = 'config';

interface PodTemplate {
  readonly spec: {
    readonly serviceAccountName: string;
    readonly containers: readonly { readonly name: string; readonly args: readonly string[] }[];
  };
}

export class Chart {
  readonly namespace = NAMESPACE;
  readonly manifests: readonly Manifest[];

  constructor(text = readFileSync(manifestFile, 'utf8')) {
    this.manifests = manifests(text, NAMESPACE);
  }

  /** What must be there before the agents: accounts and rights. */
  get rights(): Manifest[] {
    return this.manifests.filter(({ kind }) => /^(ServiceAccount|(Cluster)?Role(Binding)?)$/.test(kind));
  }

  get workloads(): Manifest[] {
    return this.manifests.filter(({ kind }) => kind === 'DaemonSet' || kind === 'Deployment');
  }

  /** The account of a mode's pods and the flags of its container, less those that the lab itself gives. */
  pod(mode: 'director' | 'realserver', nodeName: string): { readonly account: string; readonly flags: readonly string[] } {
    for (const { spec } of this.workloads) {
      const { template } = spec as { template: PodTemplate };
      const container = template.spec.containers.find(({ name }) => name === mode);
      if (container === undefined) continue;
      const flags = container.args.map((word) => word.replace('$(NODE_NAME)', nodeName));
      return { account: template.spec.serviceAccountName, flags: flags.filter((flag) => !given(mode, nodeName).includes(flag)) };
    }
    throw new Error(`the chart has no container ${mode}`);
  }
}

const given = (mode: string, nodeName: string): string[] => [`--mode=${mode}`, `--nodename=${nodeName}`, '--compute-iface=eth0'];
