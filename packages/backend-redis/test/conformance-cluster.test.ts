import { describeBackend, oneRoundTripEach, type Subject } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";
import { redisClusters } from "../../../test/harness/servers.ts";
import { redis } from "../src/index.ts";
import { type Doors, openDoors } from "./doors.ts";

for (const place of redisClusters()) {
  const makeSubject = async (): Promise<Subject> => {
    const cluster = await place.open();
    const ways = new Map<Backend, Doors>();
    return {
      async connect() {
        const doors = await openDoors(cluster.nodes);
        const backend = await redis({ nodes: doors.nodes, connectTimeoutMs: 20_000 }).connect();
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
      roundTrips: (backend) => ways.get(backend)?.turns ?? 0,
      timing: { ttlMs: 2_000, expiryLagMs: 500, watchDelayMs: 150 },
      async [Symbol.asyncDispose]() {
        for (const doors of ways.values()) await doors.close();
        await cluster[Symbol.asyncDispose]();
      },
    };
  };
  describeBackend(place.name, makeSubject, { costs: oneRoundTripEach });
}
