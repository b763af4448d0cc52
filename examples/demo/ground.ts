import { MemoryStore } from "@conclave/backend-memory";
import type { Backend, Connector } from "@conclave/core";
import { fromUrl } from "@conclave/url";
import { openRelay } from "./relay.ts";

/** The store that everything is played on. */
export interface Ground {
  readonly name: string;
  /** Time to live of a process's lease. */
  readonly ttlMs: number;
  /** A client for one process, and how it comes off the store without a goodbye. */
  client(): Promise<{ readonly store: Connector | Backend; crash(): void }>;
}

/** The ground that a URL names. Throws `RangeError` for a URL that none can be made of. */
export function groundAt(url: string): () => Promise<Ground> {
  fromUrl(url); // which refuses what is no store's URL at all
  if (/^memory:/i.test(url)) return async () => memoryGround();
  const parts = /^((?:etcd|redis|zookeeper):\/\/(?:[^@/]*@)?)(\[.+\]|[^:/,]+):(\d+)([/?].*)?$/i.exec(url);
  if (parts === null) {
    throw new RangeError("this demonstration cuts processes off from one server: give host:port of one, without TLS");
  }
  const [, before = "", host = "", port = "", behind = ""] = parts;
  const server = { host: host.replace(/^\[|\]$/g, ""), port: Number(port) };
  return () => serverGround(server, (address) => fromUrl(`${before}${address}${behind}`));
}

async function memoryGround(): Promise<Ground> {
  const store = new MemoryStore();
  const client = async () => {
    const backend = await store.connect();
    return { store: backend, crash: () => backend.disconnect() };
  };
  return { name: "memory", ttlMs: 700, client };
}

/** Rejects with `UNAVAILABLE` when no such store answers there. */
async function serverGround(
  server: { readonly host: string; readonly port: number },
  storeAt: (address: string) => Connector,
): Promise<Ground> {
  const address = server.host.includes(":") ? `[${server.host}]:${server.port}` : `${server.host}:${server.port}`;
  await using direct = await storeAt(address).connect();
  const lease = await direct.leases.grant({ ttlMs: 2_000 }); // the store may grant more
  await lease.revoke();
  const client = async () => {
    const relay = await openRelay(server);
    return { store: storeAt(relay.address), crash: () => relay.cut() };
  };
  return { name: `${direct.name} at ${address}`, ttlMs: lease.ttlMs, client };
}
