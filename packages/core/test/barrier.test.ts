import { type Conclave, connect } from "@conclave/core";
import { expect, test } from "vitest";
import { deletes, failure, keys, losingAnswers, outcome, puts, type World, world } from "./kit.ts";

const ttlMs = 9_000;

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world();
  const conclave = await connect(here.backend, { ttlMs });
  const neighbour = await connect(here.other, { ttlMs });
  await conclave.session();
  return { ...here, conclave, neighbour };
}

test("a close whose answer is lost closes once, and does not undo an opening since", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  let first = true;
  backend.fault = async (call, proceed) => {
    const result = await proceed();
    if (!puts(call) || !first) return result;
    first = false;
    await neighbour.barrier("a").open();
    throw failure("OUTCOME_UNKNOWN");
  };
  const closing = outcome(conclave.barrier("a").close());
  await clock.advance(1_000);
  expect(closing.value).toBe(true);
  expect(await neighbour.barrier("a").isClosed()).toBe(false);
});

test("an owned close whose answer is lost holds the one key", async () => {
  const { clock, backend, other, conclave } = await connected();
  backend.fault = losingAnswers(puts, 2);
  const closing = outcome(conclave.barrier("a").close({ owned: true }));
  await clock.advance(1_000);
  expect(await keys(other, "barrier/")).toEqual([closing.value?.key]);
  await closing.value?.release();
  expect(await keys(other, "barrier/")).toEqual([]);
});

test("an opening whose answer is lost does not open a barrier that was closed anew", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  await neighbour.barrier("a").close();
  let first = true;
  backend.fault = async (call, proceed) => {
    const result = await proceed();
    if (!deletes(call) || !first) return result;
    first = false;
    await neighbour.barrier("a").close();
    throw failure("OUTCOME_UNKNOWN");
  };
  const opening = outcome(conclave.barrier("a").open());
  await clock.advance(1_000);
  expect(opening).toEqual({ value: undefined, settled: true });
  expect(await neighbour.barrier("a").isClosed()).toBe(true);
});

test("an opening that is refused opens nothing, and says so", async () => {
  const { backend, conclave } = await connected();
  await conclave.barrier("a").close();
  backend.fault = async (call, proceed) => (deletes(call) ? Promise.reject(failure("UNAVAILABLE")) : proceed());
  await expect(conclave.barrier("a").open()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(await conclave.barrier("a").isClosed()).toBe(true);
});

test("an owned close that is given up before its outcome is known leaves the barrier open", async () => {
  const { clock, backend, other, conclave } = await connected();
  const controller = new AbortController();
  backend.fault = async (call, proceed) => {
    if (!puts(call)) return proceed();
    await proceed();
    controller.abort("enough");
    throw failure("OUTCOME_UNKNOWN");
  };
  const closing = outcome(conclave.barrier("a").close({ owned: true, signal: controller.signal }));
  await clock.advance(1_000);
  expect(closing.error).toBe("enough");
  expect(await keys(other, "barrier/")).toEqual([]);
});

test("a thousand who wait ask nothing of the store until it opens", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  await conclave.barrier("a").close();
  const passing = outcome(Promise.all(Array.from({ length: 1_000 }, () => conclave.barrier("a").wait())));
  await clock.advance(1_000);
  const before = backend.calls.length;
  await clock.advance(1_000);
  expect([passing.settled, backend.calls.length - before]).toEqual([false, 0]);
  await neighbour.barrier("a").open();
  await clock.advance(0);
  expect(passing.settled).toBe(true);
  expect(backend.calls.length - before).toBe(1_000);
});

test("an event that the store drops costs a wait some seconds, and not for ever", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  await neighbour.barrier("a").close();
  backend.fault = async (call, proceed) => {
    const result = await proceed();
    if (call.name !== "watch") return result;
    const deaf = new Promise<never>(() => {});
    return { ...result, [Symbol.asyncIterator]: () => ({ next: () => deaf }), [Symbol.asyncDispose]: async () => {} };
  };
  const passing = outcome(conclave.barrier("a").wait());
  await clock.advance(1_000);
  await neighbour.barrier("a").open();
  await clock.advance(1_000);
  expect(passing.settled).toBe(false);
  await clock.advance(13_000);
  expect(passing).toEqual({ value: undefined, settled: true });
});
