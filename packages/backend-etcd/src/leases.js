import { CoordinationError, isCoordinationError } from "@conclave/core/backend";
import { decodeLease } from "./codec.js";
import { hasDetails } from "./outcome.js";
import { Renewals } from "./renewals.js";

const grant = { service: "Lease", method: "leaseGrant", effect: "repeatable" };
const revoke = { service: "Lease", method: "leaseRevoke", effect: "repeatable" };
/** Leases of etcd. We name a lease before we ask for it, so that asking again cannot make a second one. */
export class EtcdLeases {
  #endpoints;
  #clock;
  #callTimeoutMs;
  #renewals;
  constructor(endpoints, settings) {
    this.#endpoints = endpoints;
    this.#clock = settings.clock;
    this.#callTimeoutMs = settings.callTimeoutMs;
    this.#renewals = new Renewals(endpoints, settings);
  }
  async grant({ ttlMs, signal, timeoutMs = this.#callTimeoutMs }) {
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    const id = this.#newId();
    const request = { ID: String(id), TTL: String(Math.ceil(ttlMs / 1_000)) };
    try {
      const { TTL } = await this.#endpoints.call(grant, request, { signal, timeoutMs });
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
  #lease(id, ttlMs) {
    return {
      id: decodeLease(id),
      ttlMs,
      keepAlive: (options) => this.#renewals.renew(id, ttlMs, options),
      revoke: (options) => this.#revoke(id, options),
    };
  }
  async #revoke(id, options) {
    try {
      await this.#endpoints.call(revoke, { ID: String(id) }, options);
    } catch (error) {
      if (!isCoordinationError(error, "LEASE_LOST")) throw error;
    }
  }
  #newId() {
    return BigInt.asUintN(63, BigInt(`0x${this.#clock.id()}`)) || 1n;
  }
}
//# sourceMappingURL=leases.js.map
