import { describeBackend } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";
import { startRedis } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { redis } from "../src/index.ts";

for (const { name, binary } of redisBinaries()) {
  describeBackend(name, async () => {
    const server = await startRedis({ binary });
    const proxies = new Map<Backend, TcpProxy>();
    return {
      async connect() {
        const proxy = await startProxy(server.url);
        const backend = await redis({ url: proxy.url }).connect();
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
      timing: { ttlMs: 1_000, expiryLagMs: 500, watchDelayMs: 150 },
      async [Symbol.asyncDispose]() {
        for (const proxy of proxies.values()) await proxy.stop();
        await server.stop();
      },
    };
  });
}
