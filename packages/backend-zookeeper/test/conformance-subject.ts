import { type Costs, oneRoundTripEach, type Subject } from "@conclave/conformance";
import { proxied, type Way } from "../../../test/harness/proxied-subject.ts";
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

/** One client's ways to all servers. */
class Ways implements Way {
  readonly #proxies: readonly TcpProxy[];

  constructor(proxies: readonly TcpProxy[]) {
    this.#proxies = proxies;
  }

  get servers(): readonly string[] {
    return this.#proxies.map(({ port }) => `127.0.0.1:${port}`);
  }

  get turns(): number {
    return this.#proxies.reduce((sum, { turns }) => sum + turns, 0);
  }

  async refuse(): Promise<void> {
    await Promise.all(this.#proxies.map((proxy) => proxy.refuse()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#proxies.map((proxy) => proxy.stop()));
  }
}

/** One server, or an ensemble, as the suite tests it. */
export function makeSubject(opened: { readonly servers: readonly string[] } & AsyncDisposable): Subject {
  return proxied({
    timing: { ttlMs: 2_000, expiryLagMs: 750, watchDelayMs: 150 },
    lay: async () => new Ways(await Promise.all(opened.servers.map((server) => startProxy(server)))),
    connect: ({ servers }) => zookeeper({ servers }).connect(),
    close: () => opened[Symbol.asyncDispose](),
  });
}
