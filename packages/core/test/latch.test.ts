import { type Conclave, connect } from "@conclave/core";
import { encode, type Txn } from "@conclave/core/backend";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Call, failure, keys, losingAnswers, outcome, put, puts, type World, world } from "./kit.ts";

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world();
  const conclave = await connect(here.backend);
  await conclave.session();
  return { ...here, conclave, neighbour: await connect(here.other) };
}

test("a count whose answer is lost counts once, also below what others count meanwhile", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  backend.fault = losingAnswers(puts, 3);
  const counting = outcome(conclave.latch("a", { count: 5 }).countDown());
  await clock.advance(0);
  expect(await neighbour.latch("a", { count: 5 }).countDown()).toBe(3);
  await clock.advance(5_000);
  expect(counting.value).toBe(4);
  expect(await neighbour.latch("a", { count: 5 }).remaining()).toBe(3);
});

test("a count that is sent first and arrives last counts nothing", async () => {
  const { clock, client, backend, conclave, neighbour } = await connected();
  let late: (() => Promise<unknown>) | undefined;
  backend.fault = async (call, proceed) => {
    if (!puts(call) || late) return proceed();
    late = () => client.kv.commit(call.argument as Txn);
    throw failure("OUTCOME_UNKNOWN");
  };
  const counting = outcome(conclave.latch("a", { count: 3 }).countDown());
  await clock.advance(1_000);
  await late?.();
  expect([counting.value, await neighbour.latch("a", { count: 3 }).remaining()]).toEqual([2, 2]);
});

test("a count that is refused counts nothing, and the same object counts on", async () => {
  const { backend, conclave } = await connected();
  const latch = conclave.latch("a", { count: 3 });
  await latch.countDown();
  const isCount = (call: Call) => puts(call) && (call.argument as Txn).then.length > 1;
  backend.fault = async (call, proceed) => (isCount(call) ? Promise.reject(failure("UNAVAILABLE")) : proceed());
  await expect(latch.countDown()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  backend.fault = (_, proceed) => proceed();
  expect(await latch.remaining()).toBe(2);
  expect(await latch.countDown()).toBe(1);
});

test("a thousand who wait ask nothing of the store until it opens", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  const passing = outcome(Promise.all(Array.from({ length: 1_000 }, () => conclave.latch("a", { count: 9 }).wait())));
  await clock.advance(1_000);
  const before = backend.calls.length;
  for (let rest = 8; rest > 0; rest--) expect(await neighbour.latch("a", { count: 9 }).countDown()).toBe(rest);
  await clock.advance(1_000);
  expect([passing.settled, backend.calls.length - before]).toEqual([false, 0]);
  await neighbour.latch("a", { count: 9 }).countDown();
  await clock.advance(0);
  expect(passing.settled).toBe(true);
  expect(backend.calls.length - before).toBe(1_000);
});

test("what is no state of a latch is corrupt, and is not overwritten", async () => {
  const { other, conclave } = await connected();
  for (const wrong of ["", "null", "5", '{"count":2}', '{"count":2,"remaining":-1,"generation":1}', "{"]) {
    await put(other, "latch/a/count", wrong);
    const latch = conclave.latch("a", { count: 2 });
    await expect(latch.wait()).rejects.toMatchObject({ code: "CORRUPT" });
    await expect(latch.countDown()).rejects.toMatchObject({ code: "CORRUPT" });
    expect((await other.kv.get("latch/a/count"))?.value).toEqual(encode(wrong));
  }
  expect(await keys(other, "latch/")).toEqual(["latch/a/count"]);
});

/** What a latch of 4 does, on one object or another of two. */
const steps = fc.array(
  fc.record({
    who: fc.nat(2),
    what: fc.constantFrom("countDown", "reset", "remaining"),
    n: fc.integer({ min: 1, max: 6 }),
  }),
  { maxLength: 30 },
);

test("a latch is its model, whoever does what in whichever order", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (steps) => {
      const { conclave, neighbour } = await connected();
      const latches = [conclave, conclave, neighbour].map((one) => one.latch("a", { count: 4 }));
      let remaining = 4;
      for (const { who, what, n } of steps) {
        const latch = latches[who] as (typeof latches)[number];
        if (what === "countDown") {
          remaining = Math.max(0, remaining - n);
          expect(await latch.countDown(n)).toBe(remaining);
        } else if (what === "reset") {
          expect(await latch.reset()).toBe(remaining === 0);
          remaining ||= 4;
        } else expect(await latch.remaining()).toBe(remaining);
        if (remaining === 0) await latch.wait();
      }
    }),
    { numRuns: 100 },
  );
});
