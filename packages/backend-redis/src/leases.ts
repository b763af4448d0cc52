import {
  type CallOptions,
  type Clock,
  CoordinationError,
  type GrantOptions,
  type Lease,
  type Leases,
} from "@conclave/core/backend";
import { encodeLease } from "./codec.ts";
import type { Space } from "./space.ts";

/** What a shorter time to live is raised to: about what a renewal over a busy network takes. */
export const minTtlMs = 100;

/**
 * Leases of Redis: when each ends, by the primary's clock. We name a lease before we ask for it, so that asking again
 * cannot make a second one.
 */
export class RedisLeases implements Leases {
  readonly #space: Space;
  readonly #clock: Clock;

  constructor(space: Space, clock: Clock) {
    this.#space = space;
    this.#clock = clock;
  }

  async grant({ ttlMs: askedMs, ...options }: GrantOptions): Promise<Lease> {
    const [id, ttlMs] = [encodeLease(this.#clock.id()), Math.max(askedMs, minTtlMs)];
    await this.#space.call({ name: "grant", effect: "repeatable", enlarges: true, args: [id, ttlMs] }, options);
    return {
      id,
      ttlMs,
      keepAlive: (own) => this.#keepAlive(id, ttlMs, own),
      revoke: (own) => this.#revoke(id, own),
    };
  }

  async #keepAlive(id: string, ttlMs: number, options: CallOptions | undefined): Promise<number> {
    const command = { name: "keepAlive", effect: "repeatable", args: [id, ttlMs] } as const;
    const { answer } = await this.#space.call(command, options);
    const [isAlive] = answer as readonly [number];
    if (isAlive === 1) return ttlMs;
    throw new CoordinationError("LEASE_LOST", `lease ${id} has expired or was revoked`);
  }

  async #revoke(id: string, options: CallOptions | undefined): Promise<void> {
    await this.#space.call({ name: "revoke", effect: "repeatable", args: [id] }, options);
  }
}
