import {
  type CallOptions,
  CoordinationError,
  type GrantOptions,
  type Lease,
  type Leases,
  linkSignals,
} from "@conclave/core/backend";
import { type Link, type LinkOptions, openLink } from "./link.ts";

/** How many leases that have ended are known as such. */
const remembered = 1_000;

/**
 * Leases of ZooKeeper: each is a session of its own, with a connection of its own, since the server decides by session
 * what goes when. The time to live is the session timeout, and ids are those of sessions.
 */
export class ZooKeeperLeases implements Leases {
  readonly #options: Omit<LinkOptions, "sessionTimeoutMs" | "lasting">;
  readonly #links = new Map<string, Link>();
  readonly #abandoned = new AbortController();

  constructor(options: Omit<LinkOptions, "sessionTimeoutMs" | "lasting">) {
    this.#options = options;
  }

  async grant({ ttlMs, ...call }: GrantOptions): Promise<Lease> {
    const { signal: abandoned } = this.#abandoned;
    using soft = linkSignals(call.signal, abandoned);
    const link = await openLink(
      { ...this.#options, sessionTimeoutMs: Math.ceil(ttlMs), lasting: false },
      { ...call, signal: soft.signal },
    );
    if (abandoned.aborted) link.abandon();
    abandoned.throwIfAborted();
    const { sessionId: id, timeoutMs } = link;
    const ended = new CoordinationError("LEASE_LOST", `lease ${id} was revoked`);
    if (timeoutMs < ttlMs) {
      link.close(call, ended).catch(() => link.abandon());
      throw new CoordinationError("LIMIT", `this server of ZooKeeper grants ${timeoutMs} ms at most, and not ${ttlMs}`);
    }
    this.#remember(id, link);
    return {
      id,
      ttlMs: timeoutMs,
      keepAlive: (options) => link.renew(options),
      revoke: (options) => link.close(options, ended),
    };
  }

  /**
   * The link by which keys are put on a lease: they belong to the session that writes them. Once that is gone its calls
   * reject with `LEASE_LOST`. Undefined for a lease that this client was not granted.
   */
  linkOf({ id }: Lease): Link | undefined {
    return this.#links.get(id);
  }

  /** Leaves all leases to expire, and grants no more. */
  abandon(reason: Error): void {
    this.#abandoned.abort(reason);
    for (const link of this.#links.values()) link.abandon(reason);
  }

  #remember(id: string, link: Link): void {
    this.#links.set(id, link);
    if (this.#links.size <= remembered) return;
    const over = [...this.#links].filter(([, { ended }]) => ended.aborted).slice(0, -remembered);
    for (const [id] of over) this.#links.delete(id);
  }
}

/** The shortest session that the servers grant, in milliseconds. Opens one, and leaves it to expire. */
export async function shortestSession(
  options: Omit<LinkOptions, "sessionTimeoutMs" | "lasting">,
  call?: CallOptions,
): Promise<number> {
  const link = await openLink({ ...options, sessionTimeoutMs: 1, lasting: false }, call);
  link.abandon();
  return link.timeoutMs;
}
