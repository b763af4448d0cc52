import { describeBackend, oneRoundTripEach, type Subject } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";
import { etcdServers } from "../../../test/harness/servers.ts";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { etcd } from "../src/index.ts";

for (const server of etcdServers()) {
  const makeSubject = async (): Promise<Subject> => {
    const proxies = new Map<Backend, TcpProxy>();
    return {
      async connect() {
        const proxy = await startProxy(server.endpoint);
        const backend = await etcd({ endpoints: [proxy.url] }).connect();
        const process: Backend = {
          ...backend,
          [Symbol.asyncDispose]() {
            const closing = backend[Symbol.asyncDispose]();
            // At once, since the suite starts more processes than there are ports.
            closing.then(() => proxy.stop());
            return closing;
          },
        };
        proxies.set(process, proxy);
        return process;
      },
      kill: async (backend) => proxies.get(backend)?.refuse(),
      roundTrips: (backend) => proxies.get(backend)?.turns ?? 0,
      timing: { ttlMs: 2_000, expiryLagMs: 1_500, watchDelayMs: 150 },
      async [Symbol.asyncDispose]() {
        for (const proxy of proxies.values()) await proxy.stop();
      },
    };
  };
  describeBackend(server.name, makeSubject, { costs: oneRoundTripEach });
}
