import {
  type CallOptions,
  type Clock,
  CoordinationError,
  type GrantOptions,
  isCoordinationError,
  type Lease,
  type Leases,
} from "@conclave/core/backend";
import type { ILeaseGrantResponse } from "etcd3";
import { decodeLease } from "./codec.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Settings } from "./options.ts";
import { hasDetails } from "./outcome.ts";
import { Renewals } from "./renewals.ts";

const grant = { service: "Lease", method: "leaseGrant", effect: "repeatable" } as const;
const revoke = { service: "Lease", method: "leaseRevoke", effect: "repeatable" } as const;

/** Leases of etcd. We name a lease before we ask for it, so that asking again cannot make a second one. */
export class EtcdLeases implements Leases {
  readonly #endpoints: Endpoints;
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;
  readonly #renewals: Renewals;

  constructor(endpoints: Endpoints, settings: Settings) {
    this.#endpoints = endpoints;
    this.#clock = settings.clock;
    this.#callTimeoutMs = settings.callTimeoutMs;
    this.#renewals = new Renewals(endpoints, settings);
  }

  async grant({ ttlMs, signal, timeoutMs = this.#callTimeoutMs }: GrantOptions): Promise<Lease> {
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    const id = this.#newId();
    const request = { ID: String(id), TTL: String(Math.ceil(ttlMs / 1_000)) };
    try {
      const { TTL } = await this.#endpoints.call<ILeaseGrantResponse>(grant, request, { signal, timeoutMs });
      return this.#lease(id, Number(TTL) * 1_000);
    } catch (error) {
      if (!(error instanceof Error && hasDetails(error.cause, /lease already exists/))) throw error;
      // An attempt that seemed lost had made it. Renewing tells how long it lives.
      const leftMs = Math.max(1, deadlineMs - this.#clock.monotonicMs());
      try {
        return this.#lease(id, await this.#renewals.renew(id, ttlMs, { timeoutMs: leftMs }));
      } catch (cause) {
        if (isCoordinationError(cause, "CLOSED")) throw cause;
        throw new CoordinationError("OUTCOME_UNKNOWN", "the lease was granted, but etcd did not say for how long", {
          cause,
        });
      }
    }
  }

  #lease(id: bigint, ttlMs: number): Lease {
    return {
      id: decodeLease(id),
      ttlMs,
      keepAlive: (options) => this.#renewals.renew(id, ttlMs, options),
      revoke: (options) => this.#revoke(id, options),
    };
  }

  async #revoke(id: bigint, options: CallOptions | undefined): Promise<void> {
    try {
      await this.#endpoints.call(revoke, { ID: String(id) }, options);
    } catch (error) {
      if (!isCoordinationError(error, "LEASE_LOST")) throw error;
    }
  }

  #newId(): bigint {
    return BigInt.asUintN(63, BigInt(`0x${this.#clock.id()}`)) || 1n;
  }
}
