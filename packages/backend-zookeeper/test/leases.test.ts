import { CoordinationError, systemClock } from "@conclave/core/backend";
import { expect, test } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { ZooKeeperLeases } from "../src/leases.ts";
import { opcode, startFakeZooKeeper } from "./fake-zookeeper.ts";
import { outcomeOf } from "./rig.ts";

const shared = { auth: undefined, clock: systemClock, callTimeoutMs: 5_000, horizon: { zxid: 0n } };
const closed = new CoordinationError("CLOSED", "closed");

test("A grant that is under way when the client is closed ends at once, and leaves no connection", async () => {
  let welcome: (() => void) | undefined;
  await using server = await startFakeZooKeeper({
    connected: ({ timeoutMs }, connection) => {
      welcome = () => connection.welcome({ id: 1n, timeoutMs });
    },
  });
  const leases = new ZooKeeperLeases({ ...shared, servers: [server] });
  const granted = outcomeOf(leases.grant({ ttlMs: 10_000 }));
  await eventually(() => welcome !== undefined);
  leases.abandon(closed);
  welcome?.();
  expect(await granted).toBe("CLOSED");
  await eventually(() => server.connections === 0);
});

test("A lease that has ended is known as such, however many there are that have not", async () => {
  await using server = await startFakeZooKeeper({
    asked: (request, connection) => {
      if (request.type === opcode.close) connection.reply(request);
    },
  });
  const leases = new ZooKeeperLeases({ ...shared, servers: [server] });
  const ended = await leases.grant({ ttlMs: 10_000 });
  await ended.revoke();
  for (let count = 0; count < 1_010; count += 10) {
    await Promise.all(Array.from({ length: 10 }, () => leases.grant({ ttlMs: 10_000 })));
  }
  expect(leases.linkOf(ended)?.ended.reason).toMatchObject({ code: "LEASE_LOST" });
  leases.abandon(closed);
  await eventually(() => server.connections === 0);
}, 60_000);
