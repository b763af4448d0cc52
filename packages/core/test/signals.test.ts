import { getEventListeners } from "node:events";
import { VirtualClock } from "@conclave/backend-memory";
import { connect } from "@conclave/core";
import { abortable, backoffMs, linkSignals, sleep } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { Bell } from "../src/bell.ts";
import { patiently, persistently, settle } from "../src/settle.ts";
import { failure, outcome, world } from "./kit.ts";

const listeners = (signal: AbortSignal) => getEventListeners(signal, "abort").length;

describe("linked signals", () => {
  test("abort with the reason of whichever source aborts first, and only once", () => {
    const [one, other] = [new AbortController(), new AbortController()];
    const { signal } = linkSignals(one.signal, undefined, other.signal);
    const reasons: unknown[] = [];
    signal.addEventListener("abort", () => reasons.push(signal.reason));
    other.abort("second source");
    one.abort("too late");
    expect(reasons).toEqual(["second source"]);
  });

  test("are aborted from the start when a source was, and never by none", () => {
    expect(linkSignals(new AbortController().signal, AbortSignal.abort("before")).signal.reason).toBe("before");
    expect(linkSignals(undefined).signal.aborted).toBe(false);
  });

  test("leave nothing on their sources once disposed or aborted", () => {
    const source = new AbortController();
    for (let use = 0; use < 1_000; use++) {
      using linked = linkSignals(source.signal, AbortSignal.abort());
      expect(linked.signal.aborted).toBe(true);
    }
    for (let use = 0; use < 1_000; use++) {
      using _ = linkSignals(source.signal, new AbortController().signal);
    }
    expect(listeners(source.signal)).toBe(0);
    const brief = new AbortController();
    linkSignals(source.signal, brief.signal);
    expect(listeners(source.signal)).toBe(1);
    brief.abort();
    expect(listeners(source.signal)).toBe(0);
  });

  test("abort no more once disposed", () => {
    const source = new AbortController();
    const linked = linkSignals(source.signal);
    linked[Symbol.dispose]();
    source.abort();
    expect(linked.signal.aborted).toBe(false);
  });
});

test("one signal, and one session, can end any number of waits without a warning", async () => {
  const warnings: unknown[] = [];
  const warned = (warning: Error) => void warnings.push(warning.message);
  process.on("warning", warned);
  const { backend, other, clock, client } = await world();
  await using theirs = await connect(other);
  await theirs.mutex("a").acquire();
  const conclave = await connect(backend);
  const controller = new AbortController();
  const { signal } = controller;
  const waits = Array.from({ length: 20 }, () => [
    outcome(sleep(clock, 60_000, signal)),
    outcome(abortable(new Promise(() => {}), signal)),
    outcome(new Bell().after(0, { clock, signal })),
    outcome(conclave.mutex("a").acquire({ signal })),
    outcome(conclave.mutex("a").acquire()),
    outcome(conclave.election("a").run(() => conclave.close(), { signal })),
    outcome(conclave.service("a").register({ address: "a:1" })),
    outcome(drain(conclave.service("a").watch({ signal }))),
  ]).flat();
  await clock.advance(1_000);
  client.disconnect();
  await clock.advance(30_000);
  client.reconnect();
  await clock.advance(1_000);
  controller.abort("enough");
  await conclave.close();
  await clock.advance(1_000);
  expect(waits.filter(({ settled }) => !settled)).toEqual([]);
  process.off("warning", warned);
  expect(warnings).toEqual([]);
});

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}

describe("an abortable promise", () => {
  test("settles as the promise does, and leaves nothing on the signal", async () => {
    const { signal } = new AbortController();
    for (let use = 0; use < 1_000; use++) await abortable(Promise.resolve(use), signal);
    await expect(abortable(Promise.reject(new Error("its own")), signal)).rejects.toThrow("its own");
    await Promise.resolve();
    expect(listeners(signal)).toBe(0);
    await expect(abortable(Promise.resolve("without"), undefined)).resolves.toBe("without");
  });

  test("rejects with the reason at once, and what becomes of the promise troubles nobody", async () => {
    const controller = new AbortController();
    let fail: (error: unknown) => void = () => {};
    const promise = new Promise<void>((_, reject) => {
      fail = reject;
    });
    const waiting = abortable(promise, controller.signal);
    controller.abort("enough");
    await expect(waiting).rejects.toBe("enough");
    await expect(abortable(promise, controller.signal)).rejects.toBe("enough");
    fail(new Error("nobody listens"));
    await new Promise((resolve) => setImmediate(resolve));
  });
});

describe("a sleep", () => {
  test("ends on time, or with the signal's reason, and leaves neither timer nor listener", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const slept = Array.from({ length: 1_000 }, (_, ms) => sleep(clock, ms, controller.signal));
    const aborted = outcome(sleep(clock, 5_000, controller.signal));
    await clock.advance(1_000);
    await Promise.all(slept);
    expect(listeners(controller.signal)).toBe(1);
    controller.abort("woken");
    await clock.advance(0);
    expect(aborted.error).toBe("woken");
    await expect(sleep(clock, 5_000, controller.signal)).rejects.toBe("woken");
    expect([listeners(controller.signal), clock.pendingTimers]).toEqual([0, 0]);
  });
});

describe("a bell", () => {
  const clock = new VirtualClock();

  test("wakes who waits, and at once who has not heard of its last ring", async () => {
    const bell = new Bell();
    const waiting = [outcome(bell.after(0, { clock })), outcome(bell.after(0, { clock }))];
    await clock.advance(1_000);
    expect(waiting.map(({ settled }) => settled)).toEqual([false, false]);
    bell.ring();
    await clock.advance(0);
    expect(waiting.map(({ settled }) => settled)).toEqual([true, true]);
    await bell.after(0, { clock });
    const { signal } = new AbortController();
    const next = outcome(bell.after(bell.rings, { clock, signal, patienceMs: 500 }));
    await clock.advance(499);
    expect(next.settled).toBe(false);
    await clock.advance(1);
    expect(next.settled).toBe(true);
    expect([listeners(signal), clock.pendingTimers]).toEqual([0, 0]);
  });

  test("is left with the signal's reason, and then holds neither timer nor listener", async () => {
    const bell = new Bell();
    const controller = new AbortController();
    const waiting = outcome(bell.after(0, { clock, signal: controller.signal, patienceMs: 500 }));
    controller.abort("enough");
    await clock.advance(0);
    expect(waiting.error).toBe("enough");
    expect([listeners(controller.signal), clock.pendingTimers]).toEqual([0, 0]);
    bell.ring();
    await expect(bell.after(0, { clock, signal: controller.signal })).rejects.toBe("enough");
  });
});

describe("what is repeated", () => {
  const { signal } = new AbortController();
  type Code = Parameters<typeof failure>[0];
  const answers = (...codes: (Code | "done")[]) => {
    let sent = 0;
    const call = async () => {
      const code = codes[sent++] ?? "done";
      if (code !== "done") throw failure(code);
      return sent;
    };
    return { call, sent: () => sent };
  };
  const play = async <T>(run: (clock: VirtualClock) => Promise<T>) => {
    const clock = new VirtualClock();
    using _ = clock.play();
    return await run(clock).catch((error: { code: string }) => error.code);
  };

  test.each([
    [["done"], 1],
    [["UNAVAILABLE"], "UNAVAILABLE"],
    [["LEASE_LOST"], "LEASE_LOST"],
    [["OUTCOME_UNKNOWN", "done"], 2],
    [["OUTCOME_UNKNOWN", "UNAVAILABLE", "UNAVAILABLE", "OUTCOME_UNKNOWN", "done"], 5],
    [["OUTCOME_UNKNOWN", "LEASE_LOST"], "LEASE_LOST"],
    [["OUTCOME_UNKNOWN", "UNAVAILABLE", "DENIED"], "DENIED"],
  ] as const)("a commit answered %j settles as %j", async (codes, expected) => {
    expect(await play((clock) => settle(clock, signal, answers(...codes).call))).toBe(expected);
  });

  test.each([
    [["UNAVAILABLE", "OUTCOME_UNKNOWN", "UNAVAILABLE", "done"], 4],
    [["UNAVAILABLE", "CORRUPT"], "CORRUPT"],
  ] as const)("a read answered %j ends as %j", async (codes, expected) => {
    expect(await play((clock) => patiently(clock, signal, answers(...codes).call))).toBe(expected);
  });

  test.each([
    [["LIMIT", "UNAVAILABLE", "OUTCOME_UNKNOWN", "LEASE_LOST", "done"], 5],
    [["UNAVAILABLE", "NOT_HELD", "done"], 2],
  ] as const)("what is done persistently and answered %j is sent %i times and never rejects", async (codes, times) => {
    const { call, sent } = answers(...codes);
    expect(await play((clock) => persistently(clock, signal, call))).toBeUndefined();
    expect(sent()).toBe(times);
  });

  test("ends with the signal, between two attempts", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const call = async () => {
      throw failure("OUTCOME_UNKNOWN");
    };
    const settling = outcome(settle(clock, controller.signal, call));
    const persisting = outcome(persistently(clock, controller.signal, call));
    await clock.advance(10_000);
    expect([settling.settled, persisting.settled]).toEqual([false, false]);
    controller.abort("enough");
    await clock.advance(0);
    expect([settling.error, persisting]).toEqual(["enough", { value: undefined, settled: true }]);
    expect([listeners(controller.signal), clock.pendingTimers]).toEqual([0, 0]);
  });

  test("waits longer each time, up to a second, and never the same", () => {
    const clock = new VirtualClock();
    for (const [attempt, longest] of [
      [1, 50],
      [2, 100],
      [5, 800],
      [6, 1_000],
      [2_000, 1_000],
    ] as const) {
      const pauses = Array.from({ length: 200 }, () => backoffMs(clock, attempt));
      expect(Math.max(...pauses)).toBeLessThan(longest);
      expect(Math.max(...pauses)).toBeGreaterThan(longest * 0.9);
      expect(Math.min(...pauses)).toBeLessThan(longest * 0.1);
    }
  });
});
