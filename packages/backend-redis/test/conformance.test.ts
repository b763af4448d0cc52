import { describeBackend, oneRoundTripEach, type Subject } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";
import { redisServers } from "../../../test/harness/servers.ts";
import { redis } from "../src/index.ts";
import { type Doors, openDoors } from "./doors.ts";

for (const place of redisServers()) {
  const makeSubject = async (): Promise<Subject> => {
    const server = await place.open();
    const ways = new Map<Backend, Doors>();
    return {
      async connect() {
        const doors = await openDoors([new URL(server.url).host]);
        const backend = await redis({
          url: `redis://127.0.0.1:${doors.nodes[0]?.port}`,
          connectTimeoutMs: 20_000,
        }).connect();
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
        await server[Symbol.asyncDispose]();
      },
    };
  };
  describeBackend(place.name, makeSubject, { costs: oneRoundTripEach });
}
