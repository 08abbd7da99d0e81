/** The agent's metrics in Prometheus' text format, for whoever asks over HTTP. */
import { createServer, type Server } from 'node:http';
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import Registry from 'prom-client/lib/registry.js';
import type { AgentDocument } from './agent-document.ts';
import { metricFamilies, type MetricFamily } from './metric-families.ts';

function metricOf({ name, help, labels, type }: MetricFamily, registry: Registry): (value: number, labels: Record<string, string>) => void {
  const options = { name, help, labelNames: labels, registers: [registry] };
  if (type === 'gauge') {
    const gauge = new Gauge(options);
    return (value, words) => gauge.set(words, value);
  }
  const counter = new Counter(options);
  return (value, words) => counter.inc(words, value);
}

/** A page with everything as it is now: nothing is kept from one to the next, so what is gone from the document is gone here. */
export async function metricsText(document: AgentDocument): Promise<string> {
  const registry = new Registry();
  for (const family of metricFamilies) {
    const samples = [...family.read(document)];
    // The library writes a 0 for a metric without labels that nobody has set: one that says nothing is left out.
    if (samples.length === 0) continue;
    const set = metricOf(family, registry);
    for (const [value, ...words] of samples)
      set(value, Object.fromEntries(family.labels.map((label, index) => [label, words[index] ?? ''])));
  }
  return registry.metrics();
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

/** `GET /metrics` and nothing else; not listening yet. Answering does not keep a process alive. */
export function metricsServer(document: () => AgentDocument): Server {
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
      (error: unknown) => response.writeHead(500, { 'content-type': 'text/plain' }).end(`${String(error)}\n`),
    );
  });
  server.maxConnections = mostConnections;
  return server.unref();
}
