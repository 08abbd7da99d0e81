// Lists and edits IPVS. Needs root, and a kernel with ip_vs: `node examples/ipvs.mjs`
import { Ipvs, KernelError, UnsupportedError, destinationKey, serviceKey } from 'ravel-agent/native';

const service = { protocol: 'tcp', address: '192.0.2.10', port: 80 };
const node = (last) => ({ address: `10.0.0.${last}`, port: 80 });

try {
  const ipvs = await Ipvs.open();
  const change = async (...operations) => {
    const { failed } = await ipvs.apply(operations);
    if (failed.length > 0) throw failed[0].error;
  };
  await change(
    { op: 'addService', service, spec: { scheduler: 'wrr' } },
    { op: 'addDestination', service, destination: node(1), spec: { forward: 'direct', weight: 1 } },
    { op: 'addDestination', service, destination: node(2), spec: { forward: 'tunnel', weight: 1 } },
  );
  await change({ op: 'setDestination', service, destination: node(1), spec: { forward: 'direct', weight: 3 } });
  for (const { id, spec, destinations } of await ipvs.services()) {
    console.log(serviceKey(id), spec.scheduler);
    for (const { id, spec, statistics } of destinations)
      console.log(`  ${destinationKey(id)} ${spec.forward} weight ${spec.weight}, ${statistics.connections} connections`);
  }
  await change({ op: 'deleteService', service });
  await ipvs.close();
} catch (error) {
  if (!(error instanceof KernelError || error instanceof UnsupportedError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
