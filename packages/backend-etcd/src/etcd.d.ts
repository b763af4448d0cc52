import { type Connector } from "@conclave/core/backend";
import { type EtcdOptions } from "./options.ts";
/**
 * Stores on an etcd cluster. Does no I/O: `connect` on what it returns makes a client, each time another one, which its
 * caller disposes. Throws `TypeError` or `RangeError` on options that cannot be meant.
 *
 * `connect` rejects with `UNAVAILABLE` when no member answers in time, `DENIED` on wrong credentials or certificates,
 * and `UNSUPPORTED` on servers older than 3.4. It warns about servers with bugs that break promises of this library.
 */
export declare function etcd(options: EtcdOptions): Connector;
//# sourceMappingURL=etcd.d.ts.map
