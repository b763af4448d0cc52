import { type GrantOptions, type Lease, type Leases } from "@conclave/core/backend";
import type { Endpoints } from "./endpoints.ts";
import type { Settings } from "./options.ts";
/** Leases of etcd. We name a lease before we ask for it, so that asking again cannot make a second one. */
export declare class EtcdLeases implements Leases {
  #private;
  constructor(endpoints: Endpoints, settings: Settings);
  grant({ ttlMs, signal, timeoutMs }: GrantOptions): Promise<Lease>;
}
//# sourceMappingURL=leases.d.ts.map
