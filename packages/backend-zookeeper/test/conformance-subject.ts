import { type Costs, oneRoundTripEach, type Subject } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { zookeeper } from "../src/index.ts";

/**
 * ZooKeeper has no conditions on what is not written, so a commit looks first, and its multi checks that what it saw still
 * stands. What only creates need not look, and looks once more when it is refused. A list asks for names and then for
 * what they hold, and a renewal is a new connection of the session and then a question to the leader.
 */
export const costs: Costs = {
  ...oneRoundTripEach,
  list: 2,
  put: 2,
  compareAndSet: 2,
  refusal: 2,
  snapshot: 2,
  leasedPut: 2,
  keepAlive: 2,
};

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
    roundTrips: (backend) => (proxies.get(backend) ?? []).reduce((turns, proxy) => turns + proxy.turns, 0),
    timing: { ttlMs: 2_000, expiryLagMs: 750, watchDelayMs: 150 },
    async [Symbol.asyncDispose]() {
      for (const own of proxies.values()) await stop(own);
      await opened[Symbol.asyncDispose]();
    },
  };
}
