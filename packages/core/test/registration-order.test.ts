import { sleep } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { Replica } from "../src/replica.ts";
import { addresses, connected, ttlMs } from "./directory.ts";
import { failure, outcome, puts } from "./kit.ts";

describe("a registration", () => {
  test("waits for a new session through refused logins, and says so once", async () => {
    const { clock, client, backend, conclave, neighbour, warnings } = await connected();
    await conclave.service("a").register({ address: "a:1", id: "x" });
    const instances = await neighbour.service("a").instances();
    client.disconnect();
    await clock.advance(2 * ttlMs);
    let refusals = 0;
    backend.fault = async ({ name }, proceed) => {
      if (name === "grant" && refusals++ < 5) throw failure("DENIED");
      return proceed();
    };
    client.reconnect();
    await clock.advance(10_000);
    expect(addresses(instances)).toEqual(["a:1"]);
    expect(refusals).toBeGreaterThan(5);
    expect(warnings.filter((warning) => warning.includes("no new session"))).toHaveLength(1);
  });

  test("that was put twice by the network cannot undo what was said later", async () => {
    const { backend, conclave, neighbour, clock } = await connected();
    const sent: (() => Promise<unknown>)[] = [];
    backend.fault = (call, proceed) => {
      if (puts(call)) sent.push(proceed);
      return proceed();
    };
    const registration = await conclave.service("a").register({ address: "a:1", id: "x" });
    await registration.update({ address: "a:2" });
    await sent[0]?.();
    await clock.advance(1);
    expect(addresses(await neighbour.service("a").instances())).toEqual(["a:2"]);
  });

  test("takes an id over from another process in two steps, and from nobody in one", async () => {
    const { backend, conclave, neighbour } = await connected();
    await neighbour.service("a").register({ address: "theirs:1", id: "x" });
    await conclave.session();
    const before = backend.count("commit");
    await conclave.service("a").register({ address: "ours:1", id: "x" });
    expect(backend.count("commit") - before).toBe(2);
    await conclave.service("a").register({ address: "ours:1", id: "y" });
    expect(backend.count("commit") - before).toBe(3);
    expect(addresses(await neighbour.service("a").instances())).toEqual(["ours:1", "ours:1"]);
  });

  test("whose change waits behind another rejects at once when aborted, and never makes it", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const registration = await conclave.service("a").register({ address: "a:1", id: "x" });
    backend.fault = async (call, proceed) => {
      if (puts(call)) await sleep(clock, 1_000);
      return proceed();
    };
    const first = outcome(registration.update({ address: "a:2" }));
    const controller = new AbortController();
    const second = outcome(registration.update({ address: "a:3" }, { signal: controller.signal }));
    const third = outcome(registration.update({ weight: 2 }));
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    expect(second).toEqual({ error: "enough", settled: true });
    await clock.advance(3_000);
    expect([first.settled, third.settled]).toEqual([true, true]);
    expect((await neighbour.service("a").instances()).snapshot.instances).toMatchObject([
      { address: "a:2", weight: 2 },
    ]);
  });
});

describe("a subscription", () => {
  test("that is disposed lets go at once, though nothing changes any more", async () => {
    const { conclave } = await connected();
    const instances = await conclave.service("a").instances();
    const replica = Replica.prototype.views;
    let under = 0;
    Replica.prototype.views = async function* (until) {
      under += 1;
      try {
        yield* replica.call(this, until);
      } finally {
        under -= 1;
      }
    };
    try {
      const subscription = instances.subscribe({});
      await Promise.resolve();
      expect(under).toBe(1);
      subscription[Symbol.dispose]();
      await new Promise(setImmediate);
      expect(under).toBe(0);
    } finally {
      Replica.prototype.views = replica;
    }
  });
});
