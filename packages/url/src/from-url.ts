import { type Conclave, type ConnectOptions, type Connector, connect } from "@conclave/core";
import { load } from "./adapters.ts";
import { parse } from "./store-url.ts";

/** The stores in memory that this process has named. */
const memories = new Map<string, Connector>();

/**
 * A connector for the store that a URL names: `memory:`, `etcd://host:2379`, `redis://host:6379`,
 * `zookeeper://host:2181` and their kin, which the package's README lists. Does no I/O; the store's adapter is loaded when
 * it first connects. A memory URL gives the same store each time in one process, as a server's would.
 *
 * Throws `TypeError` for what is no string and `RangeError` for what is no such URL, without showing credentials.
 * `connect` rejects as the adapter's does, and with an `Error` that says what to install when the adapter is not there.
 */
export function fromUrl(url: string): Connector {
  const parsed = parse(url);
  if (parsed.scheme.store !== "memory") return lazily(() => load(parsed));
  const known = memories.get(parsed.path) ?? lazily(() => load(parsed));
  memories.set(parsed.path, known);
  return known;
}

/**
 * Connects a process to the store that a URL names: `connect(fromUrl(url), options)`. Rejects as both do.
 */
export async function connectUrl(url: string, options?: ConnectOptions): Promise<Conclave> {
  return connect(fromUrl(url), options);
}

/** Loads once, when first asked. */
function lazily(load: () => Promise<Connector>): Connector {
  let loading: Promise<Connector> | undefined;
  return {
    async connect(options) {
      options?.signal?.throwIfAborted();
      loading ??= load();
      return (await loading).connect(options);
    },
  };
}
