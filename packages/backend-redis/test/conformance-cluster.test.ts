import { describeBackend } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";
import { startRedisCluster } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { redis } from "../src/index.ts";
import { type ClusterDoors, openDoors } from "./cluster-doors.ts";

for (const { clusterName, binary } of redisBinaries()) {
  describeBackend(clusterName, async () => {
    const cluster = await startRedisCluster({ binary });
    const ways = new Map<Backend, ClusterDoors>();
    return {
      async connect() {
        const doors = await openDoors(cluster.members);
        const backend = await redis({ nodes: doors.nodes }).connect();
        const process: Backend = {
          ...backend,
          [Symbol.asyncDispose]() {
            const closing = backend[Symbol.asyncDispose]();
            // At once, since the suite starts more processes than there are ports.
            closing.then(() => doors.close());
            return closing;
          },
        };
        ways.set(process, doors);
        return process;
      },
      kill: async (backend) => ways.get(backend)?.close(),
      timing: { ttlMs: 1_000, expiryLagMs: 500, watchDelayMs: 150 },
      async [Symbol.asyncDispose]() {
        for (const doors of ways.values()) await doors.close();
        await cluster.stop();
      },
    };
  });
}
