/** Serves metrics where that was asked for. A port that is taken is waited for: balancing goes on without. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Backoff } from '../model/backoff.ts';
import type { AgentDocument } from '../observe/agent-document.ts';
import { errorFields } from '../observe/log.ts';
import { stopServing } from '../observe/status-server.ts';
import { sleep } from '../reconcile/drift.ts';
import { aborted, type Parts } from './composition.ts';
import type { ListenOptions } from './options.ts';

/** Until the signal aborts. The library is loaded here, so that an agent without metrics does not hold it. */
export async function serveMetrics(
  { host, port }: ListenOptions,
  document: () => AgentDocument,
  { clock, random, log }: Pick<Parts, 'clock' | 'random' | 'log'>,
  signal: AbortSignal,
): Promise<void> {
  const { metricsServer } = await import('../observe/metrics.ts');
  const backoff = new Backoff({ random, first: 1000 });
  let told = '';
  while (!signal.aborted) {
    const server = metricsServer(document, (error) => log.error('the page of metrics could not be made', errorFields(error)));
    try {
      server.listen({ port, ...(host === undefined ? {} : { host }) });
      await once(server, 'listening', { signal });
      log.info('metrics are served', { address: (server.address() as AddressInfo).address, port: (server.address() as AddressInfo).port });
      // From here on an error concerns one connection that could not be taken, such as for want of descriptors.
      server.on('error', (error) => log.warn('metrics: a connection could not be taken', errorFields(error)));
      await aborted(signal);
      await stopServing(server);
    } catch (error) {
      await stopServing(server);
      if (error instanceof Error && error.name === 'AbortError') return;
      const words = error instanceof Error ? error.message : String(error);
      if (words !== told) log.warn('metrics cannot be served; tried again', { host, port, ...errorFields(error) });
      told = words;
      await sleep(clock, backoff.fail(), signal);
    }
  }
}
