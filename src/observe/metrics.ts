/** The agent's metrics in Prometheus' text format, for whoever asks over HTTP. */
import { createServer, type Server } from 'node:http';
import { setImmediate as pause } from 'node:timers/promises';
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import Registry from 'prom-client/lib/registry.js';
import type { AgentDocument } from './agent-document.ts';
import { metricFamilies, type MetricFamily, type MetricSample } from './metric-families.ts';

/** One family on a page of its own: nothing is kept from one page to the next, so what is gone from the document is gone here. */
function familyText({ name, help, labels, type }: MetricFamily, samples: readonly MetricSample[]): Promise<string> {
  const registry = new Registry();
  const options = { name, help, labelNames: labels, registers: [registry] };
  const metric = type === 'gauge' ? new Gauge(options) : new Counter(options);
  // A counter that is new holds what is added to it.
  for (const [value, ...words] of samples) metric.inc(Object.fromEntries(labels.map((label, index) => [label, words[index] ?? ''])), value);
  return registry.metrics();
}

/** Everything as the document has it. Other work comes in between two families: with 10,000 VIPs the whole takes a tenth of a second. */
export async function metricsText(document: AgentDocument): Promise<string> {
  let text = '';
  for (const family of metricFamilies) {
    const samples = [...family.read(document)];
    // The library writes a 0 for a metric without labels that nobody has set: one that says nothing is left out.
    if (samples.length === 0) continue;
    text += await familyText(family, samples);
    await pause();
  }
  return text;
}

/** Whoever asks is not trusted: few at once, little to say, not for long. */
const limits = {
  maxHeaderSize: 8192,
  headersTimeout: 5000,
  requestTimeout: 5000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 5000,
};
const mostConnections = 32;

/**
 * `GET /metrics` and nothing else; not listening yet. Answering does not keep a process alive. `onError` hears why a page could not be
 * made, whoever asked does not.
 */
export function metricsServer(document: () => AgentDocument, onError: (error: unknown) => void): Server {
  const server = createServer(limits, (request, response) => {
    const [path] = (request.url ?? '').split('?', 1);
    if (path !== '/metrics' || request.method !== 'GET') {
      const status = path === '/metrics' ? 405 : 404;
      response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...(status === 405 ? { allow: 'GET' } : {}) });
      response.end('only GET /metrics\n');
      return;
    }
    (async () => metricsText(document()))().then(
      (text) => response.writeHead(200, { 'content-type': Registry.PROMETHEUS_CONTENT_TYPE }).end(text),
      (error: unknown) => {
        onError(error);
        response
          .writeHead(500, { 'content-type': 'text/plain; charset=utf-8' })
          .end("the page could not be made; the agent's log says why\n");
      },
    );
  });
  server.maxConnections = mostConnections;
  return server.unref();
}
