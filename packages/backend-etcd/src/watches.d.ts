import { type CallOptions, type Watch, type Watches, type WatchRange } from "@conclave/core/backend";
import type { Endpoints } from "./endpoints.ts";
import type { Horizon } from "./kv.ts";
import type { Settings } from "./options.ts";
/** Watches of etcd. All share one stream, except that a watch whose reader is slow moves to one of its own. */
export declare class EtcdWatches implements Watches {
  #private;
  constructor(endpoints: Endpoints, settings: Settings, horizon: Horizon);
  watch(range: WatchRange, options?: CallOptions): Promise<Watch>;
}
//# sourceMappingURL=watches.d.ts.map
