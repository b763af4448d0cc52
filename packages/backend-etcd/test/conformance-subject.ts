import type { Subject } from "@conclave/conformance";
import { proxied } from "../../../test/harness/proxied-subject.ts";
import type { EtcdServer } from "../../../test/harness/servers.ts";
import { startProxy } from "../../../test/harness/tcp-proxy.ts";
import { etcd } from "../src/index.ts";

/** An etcd as the suite tests it. */
export function makeSubject(server: EtcdServer): Subject {
  return proxied({
    timing: { ttlMs: 2_000, expiryLagMs: 1_500, watchDelayMs: 150 },
    lay: () => startProxy(server.endpoint),
    connect: ({ url }) => etcd({ endpoints: [url] }).connect(),
  });
}
