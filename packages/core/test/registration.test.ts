import { describe, expect, test } from "vitest";
import { addresses, connected, intervalMs, ttlMs } from "./directory.ts";
import { failure, keys, losingAnswers, outcome, puts, remove } from "./kit.ts";

describe("a registration", () => {
  test("outlives a lost session without a moment's absence, if the next opens before the keys expire", async () => {
    const { clock, backend, conclave, neighbour, gone } = await connected();
    const registration = await conclave.service("a").register({ address: "a:1", id: "x" });
    const instances = await neighbour.service("a").instances();
    backend.fault = async ({ name }, proceed) => {
      if (name === "keepAlive" && backend.count("grant") === 1) throw failure("UNAVAILABLE");
      return proceed();
    };
    await clock.advance(3 * ttlMs);
    expect([addresses(instances), gone, registration.signal.aborted]).toEqual([["a:1"], [], false]);
    expect(backend.count("grant")).toBe(2);
  });

  test("comes back after an outage longer than its lease, and after an operator deleted it", async () => {
    const { clock, client, other, conclave, neighbour, gone } = await connected();
    await conclave.service("a").register({ address: "a:1", id: "x" });
    const instances = await neighbour.service("a").instances();
    client.disconnect();
    await clock.advance(2 * ttlMs);
    expect(addresses(instances)).toEqual([]);
    client.reconnect();
    await clock.advance(2_000);
    expect(addresses(instances)).toEqual(["a:1"]);
    await remove(other, "service/a/x");
    await clock.advance(intervalMs);
    expect(addresses(instances)).toEqual(["a:1"]);
    expect(gone).toHaveLength(2);
  });

  test("is tried again until the store takes it back", async () => {
    const { clock, client, backend, conclave, other } = await connected();
    await conclave.service("a").register({ address: "a:1", id: "x" });
    client.disconnect();
    await clock.advance(2 * ttlMs);
    let refusals = 0;
    backend.fault = async (call, proceed) => {
      if (puts(call) && refusals++ < 4) throw failure((["UNAVAILABLE", "LIMIT"] as const)[refusals % 2] ?? "LIMIT");
      return proceed();
    };
    client.reconnect();
    await clock.advance(3_000);
    expect(await keys(other)).toEqual(["service/a/x"]);
    expect(refusals).toBeGreaterThan(4);
  });

  test("that the store refuses for good is given up with a warning", async () => {
    const { clock, client, backend, conclave, warnings } = await connected();
    await conclave.service("a").register({ address: "a:1", id: "x" });
    client.disconnect();
    await clock.advance(2 * ttlMs);
    backend.fault = async (call, proceed) => {
      if (puts(call)) throw failure("DENIED");
      return proceed();
    };
    client.reconnect();
    await clock.advance(2_000);
    expect(warnings).toEqual([expect.stringContaining("session 1 is lost"), expect.stringContaining("a/x")]);
  });

  test("whose put's answer is lost is made once, and one that fails after that leaves nothing", async () => {
    const { clock, backend, other, conclave } = await connected();
    backend.fault = losingAnswers(puts, 2);
    const registering = outcome(conclave.service("a").register({ address: "a:1", id: "x" }));
    await clock.advance(1_000);
    expect([registering.value?.id, await keys(other)]).toEqual(["x", ["service/a/x"]]);
    backend.fault = losingAnswers(puts, 99);
    const controller = new AbortController();
    const { signal } = controller;
    const aborted = outcome(conclave.service("a").register({ address: "a:2", id: "y", signal }));
    await clock.advance(100);
    controller.abort("enough");
    await clock.advance(intervalMs);
    expect([aborted.error, await keys(other)]).toEqual(["enough", ["service/a/x"]]);
  });
});

describe("updating a registration", () => {
  test("says the new without a gap, though the answer was lost", async () => {
    const { clock, backend, conclave, neighbour, gone } = await connected();
    const registration = await conclave.service("a").register({ address: "a:1", id: "x", weight: 2 });
    const instances = await neighbour.service("a").instances();
    backend.fault = losingAnswers(puts, 2);
    const updating = outcome(registration.update({ address: "a:2" }));
    await clock.advance(1_000);
    expect(updating).toEqual({ value: undefined, settled: true });
    expect(instances.snapshot.instances).toMatchObject([{ address: "a:2", weight: 2 }]);
    await clock.advance(ttlMs);
    expect([registration.signal.aborted, gone]).toEqual([false, []]);
  });

  test("keeps what is not given, and takes away metadata that is given as undefined", async () => {
    const { clock, conclave, neighbour } = await connected();
    const registration = await conclave.service("a").register({ address: "a:1", metadata: { zone: "eu" }, weight: 2 });
    const instances = await neighbour.service("a").instances();
    await registration.update({ weight: 3 });
    await clock.advance(0);
    expect(instances.snapshot.instances).toMatchObject([{ address: "a:1", metadata: { zone: "eu" }, weight: 3 }]);
    await registration.update({ metadata: undefined });
    await clock.advance(0);
    expect(instances.snapshot.instances).toMatchObject([{ address: "a:1", metadata: undefined, weight: 3 }]);
  });

  test("that failed is not said later, and the next one is", async () => {
    const { clock, client, backend, conclave, neighbour } = await connected();
    const registration = await conclave.service("a").register({ address: "a:1", id: "x" });
    const instances = await neighbour.service("a").instances();
    client.disconnect();
    await expect(registration.update({ address: "a:2" })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await clock.advance(2 * ttlMs);
    client.reconnect();
    await clock.advance(ttlMs);
    expect(addresses(instances)).toEqual(["a:1"]);
    backend.fault = losingAnswers(puts);
    const controller = new AbortController();
    const unknown = outcome(registration.update({ address: "a:3" }, { signal: controller.signal }));
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    expect(unknown.error).toBe("enough");
    await registration.update({ address: "a:4" });
    expect((await neighbour.service("a").instances()).snapshot.instances).toMatchObject([{ address: "a:4" }]);
  });

  test("with an outcome that stayed unknown is no takeover when the session is replaced", async () => {
    const { clock, backend, conclave, neighbour, gone } = await connected();
    const registration = await conclave.service("a").register({ address: "a:1", id: "x" });
    const controller = new AbortController();
    backend.fault = losingAnswers(puts);
    const unknown = outcome(registration.update({ address: "a:2" }, { signal: controller.signal }));
    await clock.advance(0);
    controller.abort("enough");
    backend.fault = async ({ name }, proceed) => {
      if (name === "keepAlive" && backend.count("grant") === 1) throw failure("UNAVAILABLE");
      return proceed();
    };
    await clock.advance(3 * ttlMs);
    expect([unknown.error, registration.signal.aborted, gone]).toEqual(["enough", false, []]);
    expect(addresses(await neighbour.service("a").instances())).toEqual(["a:1"]);
  });

  test("one after the other ends with the last, in whatever order they are awaited", async () => {
    const { conclave, neighbour } = await connected();
    const registration = await conclave.service("a").register({ address: "a:0", id: "x" });
    await Promise.all([1, 2, 3].map((index) => registration.update({ address: `a:${index}` })));
    expect(addresses(await neighbour.service("a").instances())).toEqual(["a:3"]);
  });
});

describe("an id that is registered again", () => {
  test.each(["strong", "weak"] as const)("is the last one's, and the first ends with NOT_HELD (%s)", async (mode) => {
    const { clock, conclave, neighbour } = await connected({ mode });
    const first = await conclave.service("a").register({ address: "a:1", id: "x" });
    const second = await neighbour.service("a").register({ address: "a:2", id: "x" });
    await clock.advance(intervalMs + 100);
    expect(first.signal.reason).toMatchObject({ code: "NOT_HELD" });
    await expect(first.update({ address: "a:3" })).rejects.toMatchObject({ code: "NOT_HELD" });
    await first.deregister();
    await clock.advance(3 * ttlMs);
    expect(second.signal.aborted).toBe(false);
    expect(addresses(await neighbour.service("a").instances())).toEqual(["a:2"]);
  });

  test("between a put and its read, on a store that reads after it wrote, is the last one's too", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { clock, conclave, neighbour } = await connected({ mode: "weak", seed });
      await Promise.all([conclave.session(), neighbour.session()]);
      const one = outcome(conclave.service("a").register({ address: "a:1", id: "x" }));
      const two = outcome(neighbour.service("a").register({ address: "a:2", id: "x" }));
      await clock.advance(3 * ttlMs);
      const there = addresses(await conclave.service("a").instances());
      const alive = [one, two].map(({ value }) => value !== undefined && !value.signal.aborted);
      expect(alive.filter(Boolean)).toHaveLength(1);
      expect(there).toEqual([alive[0] ? "a:1" : "a:2"]);
      // The second put came last.
      expect(there).toEqual(["a:2"]);
    }
  });

  test("by the same process too, whose earlier registration then cannot take it away", async () => {
    const { clock, conclave, neighbour, gone } = await connected();
    const first = await conclave.service("a").register({ address: "a:1", id: "x" });
    const second = await conclave.service("a").register({ address: "a:2", id: "x" });
    await first.deregister();
    await expect(first.update({ address: "a:3" })).rejects.toMatchObject({ code: "NOT_HELD" });
    await clock.advance(2 * ttlMs);
    expect(addresses(await neighbour.service("a").instances())).toEqual(["a:2"]);
    expect([second.signal.aborted, gone]).toEqual([false, []]);
  });

  test("is not taken away by what an earlier deregistration could not finish", async () => {
    const { clock, client, conclave, neighbour, gone } = await connected();
    const first = await conclave.service("a").register({ address: "a:1", id: "x" });
    client.disconnect();
    await first.deregister();
    client.reconnect();
    await conclave.service("a").register({ address: "a:2", id: "x" });
    await clock.advance(2 * ttlMs);
    expect(addresses(await neighbour.service("a").instances())).toEqual(["a:2"]);
    expect(gone).toEqual([]);
  });
});

test("of two that register an id at once, the directory says what the one that is left says", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  await conclave.session();
  let written = 0;
  // The first answer comes last.
  backend.fault = async (call, proceed) => {
    const answer = await proceed();
    if (puts(call) && answer.succeeded && written++ === 0)
      await new Promise<void>((resolve) => void clock.after(500, resolve));
    return answer;
  };
  const registering = Promise.all(
    ["a:1", "b:1"].map(async (address) => {
      const registration = await conclave.service("a").register({ address, id: "x" });
      return { address, registration };
    }),
  );
  await clock.advance(1_000);
  const left = (await registering).filter(({ registration }) => !registration.signal.aborted);
  expect(left).toHaveLength(1);
  expect(addresses(await neighbour.service("a").instances())).toEqual([left[0]?.address]);
});

test("what is registered again is what was said, whatever became of the object given", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  const metadata = { zone: 1 };
  await conclave.service("a").register({ address: "a:1", metadata });
  metadata.zone = 2;
  backend.fault = async (call, proceed) => {
    if (call.name === "keepAlive" && backend.count("grant") === 1) throw failure("UNAVAILABLE");
    return proceed();
  };
  await clock.advance(3 * ttlMs);
  expect(backend.count("grant")).toBe(2);
  const { snapshot } = await neighbour.service("a").instances();
  expect(snapshot.instances.map(({ metadata }) => metadata)).toEqual([{ zone: 1 }]);
});

test("of those that register an id while another's attempt fails, the last one is left, and only that", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  await conclave.session();
  let attempts = 0;
  backend.fault = async (call, proceed) => {
    if (!puts(call)) return proceed();
    attempts += 1;
    const isFirst = attempts === 1;
    if (isFirst) await new Promise<void>((resolve) => void clock.after(100, resolve));
    if (isFirst) throw failure("UNAVAILABLE");
    const answer = await proceed();
    // Each answer takes longer than the one before.
    await new Promise<void>((resolve) => void clock.after(attempts * 50, resolve));
    return answer;
  };
  const register = async (address: string) => {
    const registration = await conclave.service("a").register({ address, id: "x" });
    return { address, registration };
  };
  const first = register("a:1").catch(() => register("c:1"));
  const second = register("b:1");
  await clock.advance(2_000);
  const left = (await Promise.all([first, second])).filter(({ registration }) => !registration.signal.aborted);
  expect(left.map(({ address }) => address)).toEqual(addresses(await neighbour.service("a").instances()));
  expect(left).toHaveLength(1);
});
