/** The way from where a test runs (VM, namespace of the host) to the control plane on the host's loopback. */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { resolve } from 'node:path';
import type { AgentRequests } from '../harness/audit.ts';
import { ApiClient } from '../harness/client.ts';
import type { ControlCommand, LabDescription } from '../harness/control.ts';

/** Written by the runner before anything starts. */
export const descriptionFile = resolve('build/e2e/lab.json');

/** QEMU's user network: the host's loopback. */
const HOST = '10.0.2.2';

export class Host {
  readonly api: ApiClient;
  /** For the relay: where the API server is. */
  readonly upstream: string;
  readonly authority: string;
  readonly #place: object;
  readonly #secret: string;

  private constructor(description: LabDescription, inVm: boolean) {
    const { authority, certificate, key, apiPort, apiSocket, controlPort, controlSocket } = description;
    const place = inVm ? { host: HOST } : { host: 'localhost', socketPath: apiSocket };
    this.api = new ApiClient({ ...place, port: apiPort, authority, certificate, key });
    this.upstream = inVm ? `${HOST}:${apiPort}` : apiSocket;
    this.authority = authority;
    this.#place = inVm ? { host: HOST, port: controlPort } : { socketPath: controlSocket };
    this.#secret = description.secret;
  }

  static find(): Host {
    return new Host(JSON.parse(readFileSync(descriptionFile, 'utf8')) as LabDescription, process.env['RAVEL_IN_VM'] === '1');
  }

  command(command: ControlCommand): Promise<unknown> {
    return new Promise((resolve, reject) => {
      request({ ...this.#place, method: 'POST', headers: { 'x-secret': this.#secret } }, (answer) => {
        text(answer).then((body) => {
          if (answer.statusCode === 200) resolve(JSON.parse(body));
          else reject(new Error(`${command.op}: ${String(answer.statusCode)} ${body}`));
        }, reject);
      })
        .on('error', reject)
        .end(JSON.stringify(command));
    });
  }

  /** What the agents asked of the API server that runs now. */
  async requests(): Promise<AgentRequests[]> {
    return (await this.command({ op: 'requests' })) as AgentRequests[];
  }

  close(): void {
    this.api.close();
  }
}
