import type { CallOptions } from "./kv.ts";

export interface GrantOptions extends CallOptions {
  /** How long the lease lives without renewal. The store may grant more; it never grants less. */
  readonly ttlMs: number;
}

export interface Leases {
  grant(options: GrantOptions): Promise<Lease>;
}

/**
 * A lease, held by the client that was granted it: only that client attaches keys to it, renews or revokes it. When it
 * expires or is revoked all its keys go in one revision, and watchers see it.
 */
export interface Lease {
  /** The store's own name for it; on etcd the lease id in lower-case hex. */
  readonly id: string;
  /** What the store granted. */
  readonly ttlMs: number;
  /** Renews once; the time to live now granted, in milliseconds. Rejects with `LEASE_LOST` if the store says it is gone. */
  keepAlive(options?: CallOptions): Promise<number>;
  /** Ends it; ending one that is gone already is fine. */
  revoke(options?: CallOptions): Promise<void>;
}
