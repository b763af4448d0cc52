import { connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { describeJunk, object, text } from "./junk.ts";
import { type Any, keys, world } from "./kit.ts";

const junk = (other: Any) => ({ ...object(other), wrong: 1 });

describeJunk({
  barrier: (c, one, other) => c.barrier(one).close(junk(other)),
  "barrier.close": (c, one, other) => c.barrier("a").close({ ...object(other), owned: text(one), wrong: 1 }),
  "barrier.open": (c, one, other) => c.barrier(one).open(junk(other)),
  "barrier.isClosed": (c, one, other) => c.barrier(one).isClosed(other),
  "barrier.wait": (c, one, other) => c.barrier(one).wait(other),
  latch: (c, one, other) => c.latch(one, other).remaining(),
  "latch of some count": (c, one, other) => c.latch("a", { count: one, wrong: other }),
  "latch.countDown": (c, one, other) => c.latch("a", { count: 2 }).countDown(one, junk(other)),
  "latch.remaining": (c, one, other) => c.latch(one, { count: 2 }).remaining(other),
  "latch.wait": (c, one, other) => c.latch(one, { count: 2 }).wait(junk(other)),
  "latch.reset": (c, one, other) => c.latch(one, { count: 2 }).reset(junk(other)),
  doubleBarrier: (c, one, other) => c.doubleBarrier(one, other).enter({ wrong: 1 }),
  "doubleBarrier of some count": (c, one, other) => c.doubleBarrier("a", { count: one, onDeath: String(typeof other) }),
  "doubleBarrier.enter": (c, one, other) => c.doubleBarrier(one, { count: 2 }).enter(junk(other)),
  "doubleBarrier.run": (c, one, other) => c.doubleBarrier("a", { count: 2 }).run(text(one), other),
});

const wrong: [string, (conclave: Any) => unknown, typeof TypeError, RegExp][] = [
  ["a barrier without a name", (c) => c.barrier(), TypeError, /name of the barrier must be a string, not undefined/],
  ["an unknown option of close", (c) => c.barrier("a").close({ own: true }), TypeError, /close has no option "own"/],
  ["owned that is text", (c) => c.barrier("a").close({ owned: "yes" }), TypeError, /owned of close must be a boolean/],
  [
    "an unknown option of wait",
    (c) => c.barrier("a").wait({ timeoutMs: 5 }),
    TypeError,
    /wait has no option "timeoutMs"/,
  ],
  ["a timeout of 0", (c) => c.barrier("a").open({ timeoutMs: 0 }), RangeError, /timeoutMs of open must be more than 0/],
  ["a latch without a count", (c) => c.latch("a"), TypeError, /count of the latch must be a number, not undefined/],
  ["a latch of 0", (c) => c.latch("a", { count: 0 }), RangeError, /count of the latch must be a whole number.*not 0/],
  ["a latch of a half", (c) => c.latch("a", { count: 0.5 }), RangeError, /count of the latch.*not 0.5/],
  ["a latch with an empty name", (c) => c.latch("", { count: 1 }), RangeError, /name of the latch.*at least one char/],
  ["a count down by 0", (c) => c.latch("a", { count: 1 }).countDown(0), RangeError, /n of countDown must be .*not 0/],
  ["a count down by text", (c) => c.latch("a", { count: 1 }).countDown("1"), TypeError, /n of countDown.*not "1"/],
  [
    "a double barrier without a count",
    (c) => c.doubleBarrier("a", {}),
    TypeError,
    /count of the double barrier must be a number, not undefined/,
  ],
  [
    "a double barrier of -1",
    (c) => c.doubleBarrier("a", { count: -1 }),
    RangeError,
    /count of the double barrier must be a whole number/,
  ],
  [
    "a policy that there is not",
    (c) => c.doubleBarrier("a", { count: 1, onDeath: "cry" }),
    RangeError,
    /onDeath of the double barrier must be "break" or "shrink", not "cry"/,
  ],
  [
    "work that is none",
    (c) => c.doubleBarrier("a", { count: 1 }).run("work"),
    TypeError,
    /work of run must be a function/,
  ],
  [
    "a name that leaves no room for a member's key",
    (c) => c.doubleBarrier({ prefix: `${"x".repeat(460)}/` }, { count: 1 }),
    RangeError,
    /prefix of the doublebarrier must be at most 459 bytes/,
  ],
];

describe("barriers and latches refuse, and write nothing for,", () => {
  test.each(wrong)("%s", async (_, call, type, message) => {
    const { backend, other } = await world();
    await using conclave = await connect(backend);
    const error = await (async () => call(conclave))().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
    expect([await keys(other), backend.count("grant"), backend.count("commit")]).toEqual([[], 0, 0]);
  });

  test("anything on an aborted signal, with the signal's own reason", async () => {
    const { backend, other } = await world();
    await using conclave = await connect(backend);
    await conclave.session();
    const options = { signal: AbortSignal.abort("enough") };
    const [barrier, latch] = [conclave.barrier("a"), conclave.latch("a", { count: 1 })];
    const double = conclave.doubleBarrier("a", { count: 1 });
    const calls = [
      () => barrier.close(options),
      () => barrier.close({ ...options, owned: true }),
      () => barrier.open(options),
      () => barrier.isClosed(options),
      () => barrier.wait(options),
      () => latch.countDown(1, options),
      () => latch.remaining(options),
      () => latch.wait(options),
      () => latch.reset(options),
      () => double.enter(options),
      () => double.run(() => {}, options),
    ];
    for (const call of calls) await expect(call()).rejects.toBe("enough");
    expect(await keys(other)).toEqual([]);
  });
});
