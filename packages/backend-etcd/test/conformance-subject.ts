import type { Subject } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";
import type { EtcdServer } from "../../../test/harness/servers.ts";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { etcd } from "../src/index.ts";

/** An etcd as the suite tests it: each of its processes has a way to it of its own, which can be cut. */
export function makeSubject(server: EtcdServer): Subject {
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
}
