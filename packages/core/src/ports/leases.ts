import type { CallOptions } from "./kv.ts";

/** What a new lease is to be. */
export interface GrantOptions extends CallOptions {
  /** How many milliseconds the lease lives without renewal. The store may grant more; it never grants less. */
  readonly ttlMs: number;
}

/** Where leases come from. */
export interface Leases {
  /**
   * Grants a lease. Rejects as a commit does; of a grant whose outcome is unknown there may be a lease, which nobody
   * renews, and which expires.
   */
  grant(options: GrantOptions): Promise<Lease>;
}

/**
 * A lease, held by the client that was granted it: only that client attaches keys to it, renews or revokes it. When it
 * expires or is revoked all its keys go in one revision, and watchers see it.
 */
export interface Lease {
  /** The store's own name for it; on etcd the lease id in lower-case hex. */
  readonly id: string;
  /** What the store granted, in milliseconds. */
  readonly ttlMs: number;
  /** Renews once; the time to live now granted, in milliseconds. Rejects with `LEASE_LOST` if the store says it is gone. */
  keepAlive(options?: CallOptions): Promise<number>;
  /** Ends it, and its keys with it; ending one that is gone already is fine. Rejects as a commit does. */
  revoke(options?: CallOptions): Promise<void>;
}
