import { type Conclave, connect } from "@conclave/core";
import { expect, test } from "vitest";
import { deferred, deletes, failure, keys, losingAnswers, outcome, puts, type World, world } from "./kit.ts";

const ttlMs = 9_000;

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world();
  const conclave = await connect(here.backend, { ttlMs });
  const neighbour = await connect(here.other, { ttlMs });
  await Promise.all([conclave.session(), neighbour.session()]);
  return { ...here, conclave, neighbour };
}

const left = async ({ other }: World) => (await keys(other)).filter((key) => key.startsWith("destructive-queue/"));

test("a push whose answer is lost leaves one item, though another popped it before it was sent again", async () => {
  const scene = await connected();
  const { clock, backend, conclave, neighbour } = scene;
  let first = true;
  backend.fault = async (call, proceed) => {
    if (!puts(call) || !first) return proceed();
    first = false;
    await proceed();
    expect(await neighbour.destructiveQueue("d").tryPop()).toBe("a");
    throw failure("OUTCOME_UNKNOWN");
  };
  const pushed = outcome(conclave.destructiveQueue("d").push("a"));
  await clock.advance(2_000);
  expect(pushed).toEqual({ settled: true, value: undefined });
  expect(await left(scene)).toEqual([]);
});

test("a pop whose answer is lost gives what it took, and takes nothing else", async () => {
  const scene = await connected();
  const { clock, backend, conclave } = scene;
  const queue = conclave.destructiveQueue("d");
  for (const value of ["a", "b"]) await queue.push(value);
  backend.fault = losingAnswers(deletes, 3);
  const popped = outcome(queue.pop());
  await clock.advance(5_000);
  expect(popped.value).toBe("a");
  expect(await left(scene)).toHaveLength(1);
});

test("a pop whose answer is lost, of what another took, gives the next", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  const queue = conclave.destructiveQueue("d");
  for (const value of ["a", "b"]) await queue.push(value);
  let first = true;
  backend.fault = async (call, proceed) => {
    if (!deletes(call) || !first) return proceed();
    first = false;
    expect(await neighbour.destructiveQueue("d").pop()).toBe("a");
    throw failure("OUTCOME_UNKNOWN");
  };
  const popped = outcome(queue.pop());
  await clock.advance(5_000);
  expect(popped.value).toBe("b");
});

test("a pop that is aborted while it takes something gives it all the same", async () => {
  const scene = await connected();
  const { clock, backend, conclave } = scene;
  const queue = conclave.destructiveQueue("d");
  await queue.push("a");
  const controller = new AbortController();
  const answer = deferred<void>();
  backend.fault = async (call, proceed) => {
    const result = await proceed();
    if (deletes(call)) await answer.promise;
    return result;
  };
  const popped = outcome(queue.pop({ signal: controller.signal }));
  await clock.advance(1);
  controller.abort("enough");
  await clock.advance(1);
  answer.resolve();
  await clock.advance(1);
  expect(popped.value).toBe("a");
});

test("a pop says that it does not know when the session ends while it takes something", async () => {
  const { clock, backend, conclave } = await connected();
  const queue = conclave.destructiveQueue("d");
  await queue.push("a");
  backend.fault = async (call, proceed) => {
    if (call.name === "keepAlive" || deletes(call)) throw failure("OUTCOME_UNKNOWN");
    return proceed();
  };
  const popped = outcome(queue.pop());
  await clock.advance(ttlMs);
  expect(popped.error).toMatchObject({ code: "OUTCOME_UNKNOWN" });
});

test("who gives up waiting while the store is away rejects at once, and leaves no key once it is back", async () => {
  const scene = await connected();
  const { clock, client, conclave } = scene;
  const controller = new AbortController();
  const popped = outcome(conclave.destructiveQueue("d").pop({ signal: controller.signal }));
  await clock.advance(10);
  client.disconnect();
  controller.abort("enough");
  await clock.advance(1);
  expect(popped.error).toBe("enough");
  client.reconnect();
  await clock.advance(ttlMs);
  expect(await left(scene)).toEqual([]);
});

test("who waits rejects when the session ends or the conclave closes, and leaves no key", async () => {
  const scene = await connected();
  const { clock, backend, conclave, neighbour } = scene;
  const closed = outcome(neighbour.destructiveQueue("d").pop());
  const lost = outcome(conclave.destructiveQueue("d").pop());
  await clock.advance(10);
  expect(await left(scene)).toHaveLength(2);
  backend.fault = async (call, proceed) => {
    if (call.name === "keepAlive") throw failure("UNAVAILABLE");
    return proceed();
  };
  await clock.advance(ttlMs);
  expect(lost.error).toMatchObject({ code: "LEASE_LOST" });
  await neighbour.close();
  expect(closed.error).toMatchObject({ code: "CLOSED" });
  await clock.advance(2 * ttlMs);
  await conclave.close();
  expect([await left(scene), clock.pendingTimers]).toEqual([[], 0]);
});
