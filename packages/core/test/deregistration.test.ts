import { describe, expect, test } from "vitest";
import { connected, intervalMs, ttlMs } from "./directory.ts";
import { deferred, deletes, keys, outcome, puts } from "./kit.ts";

describe("deregistering", () => {
  test("during an outage resolves, and takes the instance away once the store is back, for good", async () => {
    const { clock, client, other, conclave } = await connected();
    const registration = await conclave.service("a").register({ address: "a:1", id: "x" });
    client.disconnect();
    const leaving = outcome(Promise.all([registration.deregister(), registration.deregister()]));
    await clock.advance(1_000);
    expect([leaving.settled, await keys(other)]).toEqual([true, ["service/a/x"]]);
    client.reconnect();
    await clock.advance(intervalMs);
    expect(await keys(other)).toEqual([]);
    client.disconnect();
    await clock.advance(2 * ttlMs);
    client.reconnect();
    await clock.advance(ttlMs);
    expect(await keys(other)).toEqual([]);
    await expect(registration.update({ address: "a:2" })).rejects.toMatchObject({ code: "NOT_HELD" });
  });

  test("while a put is under way waits for it, and wins", async () => {
    const { clock, backend, other, conclave } = await connected();
    const registration = await conclave.service("a").register({ address: "a:1", id: "x" });
    const slow = deferred<void>();
    backend.fault = async (call, proceed) => {
      if (puts(call)) await slow.promise;
      return proceed();
    };
    const updating = outcome(registration.update({ address: "a:2" }));
    const leaving = outcome(registration.deregister());
    await clock.advance(100);
    expect([updating.settled, leaving.settled]).toEqual([false, false]);
    slow.resolve();
    await clock.advance(0);
    expect([updating.settled, leaving.settled, await keys(other)]).toEqual([true, true, []]);
    expect(backend.calls.filter(deletes)).toHaveLength(1);
  });
});
