import type { Subject } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { zookeeper } from "../src/index.ts";

/** Servers on which each client has proxies of its own, one for each server, so that it alone can be cut off. */
export async function makeSubject(opened: { readonly servers: readonly string[] } & AsyncDisposable): Promise<Subject> {
  const proxies = new Map<Backend, readonly TcpProxy[]>();
  const stop = (own: readonly TcpProxy[] = []) => Promise.all(own.map((proxy) => proxy.stop()));
  return {
    async connect() {
      const own = await Promise.all(opened.servers.map((server) => startProxy(server)));
      const backend = await zookeeper({ servers: own.map(({ port }) => `127.0.0.1:${port}`) }).connect();
      const process: Backend = {
        ...backend,
        [Symbol.asyncDispose]() {
          const closing = backend[Symbol.asyncDispose]();
          // At once, since the suite starts more processes than there are ports.
          closing.then(() => stop(own));
          return closing;
        },
      };
      proxies.set(process, own);
      return process;
    },
    kill: async (backend) => {
      for (const proxy of proxies.get(backend) ?? []) proxy.refuse();
    },
    timing: { ttlMs: 1_000, expiryLagMs: 750, watchDelayMs: 150 },
    async [Symbol.asyncDispose]() {
      for (const own of proxies.values()) await stop(own);
      await opened[Symbol.asyncDispose]();
    },
  };
}
