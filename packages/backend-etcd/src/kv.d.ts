import type { CallOptions, Commit, Entry, KV, Listing, ListOptions, Revision, Txn } from "@conclave/core/backend";
import type { Endpoints } from "./endpoints.ts";
import type { Settings } from "./options.ts";
/** The newest revision a client has seen; nothing older may be shown to it any more. */
export interface Horizon {
  seen: Revision;
}
/** Keys and values of etcd. */
export declare class EtcdKv implements KV {
  #private;
  constructor(endpoints: Endpoints, settings: Settings, horizon: Horizon);
  get(key: string, options?: CallOptions): Promise<Entry | undefined>;
  list(prefix: string, options?: ListOptions): Promise<Listing>;
  commit<const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>>;
}
//# sourceMappingURL=kv.d.ts.map
