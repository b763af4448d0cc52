import { type CallOptions } from "@conclave/core/backend";
import type { Endpoints } from "./endpoints.ts";
import type { Settings } from "./options.ts";
/**
 * The keep-alives of all leases of one client, over one stream. A stream that ends, breaks or leaves a renewal without
 * an answer for a quarter of its lease's life is replaced, at another member if there is one.
 */
export declare class Renewals {
  #private;
  constructor(endpoints: Endpoints, settings: Settings);
  /** Renews once. An abort or a deadline rejects at once, whatever becomes of what was sent. */
  renew(id: bigint, ttlMs: number, options?: CallOptions): Promise<number>;
}
//# sourceMappingURL=renewals.d.ts.map
