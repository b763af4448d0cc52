import { memory } from "@conclave/backend-memory";
import type { Connector } from "@conclave/core";

/**
 * The store an example runs on: a new one in memory, or with `BACKEND=etcd://127.0.0.1:2379` that etcd. Each `connect` to
 * it is a client of its own, as another process would be.
 */
export async function openStore(address: string = process.env["BACKEND"] ?? "memory"): Promise<Connector> {
  if (address === "memory") return memory();
  const [, server] = /^etcd:\/\/([^/]+)$/.exec(address) ?? [];
  if (server === undefined) throw new RangeError(`a backend is memory or etcd://host:port, not ${address}`);
  const { etcd } = await import("@conclave/backend-etcd"); // only when it is needed: the driver takes a moment to load
  return etcd({ endpoints: [`http://${server}`] });
}
