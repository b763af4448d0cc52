import type { Subject } from "@conclave/conformance";
import { proxied } from "../../../test/harness/proxied-subject.ts";
import { type RedisNode, type RedisOptions, redis } from "../src/index.ts";
import { openDoors } from "./doors.ts";

/** A Redis or a cluster, given by its members as `host:port`, as the suite tests it. */
export function makeSubject(
  members: readonly string[],
  reached: (nodes: readonly RedisNode[]) => RedisOptions,
  opened: AsyncDisposable,
): Subject {
  return proxied({
    timing: { ttlMs: 2_000, expiryLagMs: 500, watchDelayMs: 150 },
    lay: () => openDoors(members),
    connect: ({ nodes }) => redis({ ...reached(nodes), connectTimeoutMs: 20_000 }).connect(),
    close: () => opened[Symbol.asyncDispose](),
  });
}
