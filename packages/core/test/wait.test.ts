import { getEventListeners } from "node:events";
import { sleep } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { waitUntil } from "../src/wait.ts";
import { deferred, failure, outcome, put, remove, world } from "./kit.ts";

const recheckMs = 10_000;
const { signal } = new AbortController();

/** A world, and a look for the key `done`. */
async function waiting() {
  const here = await world();
  const look = async () => (await here.backend.kv.get("done")) && "found";
  const start = (until: AbortSignal = signal, ranges = [{ key: "a" }, { prefix: "b/" }]) =>
    outcome(waitUntil(here.backend, ranges, look, { signal: until, recheckMs }));
  return { ...here, start };
}

describe("a wait", () => {
  test("opens every watch before it looks, so that nothing falls between", async () => {
    const { clock, backend, other, start } = await waiting();
    backend.fault = async ({ name }, proceed) => {
      const answer = await proceed();
      // What the wait is for comes about between its watch and its look.
      if (name === "watch" && backend.count("watch") === 2) await put(other, "done");
      return answer;
    };
    const wait = start();
    await clock.advance(0);
    expect(wait.value).toBe("found");
    expect(backend.calls.map(({ name }) => name)).toEqual(["watch", "watch", "get"]);
    expect(clock.pendingTimers).toBe(0);
  });

  test("looks again when any of the ranges changes, and not otherwise", async () => {
    const { clock, backend, other, start } = await waiting();
    const wait = start();
    await clock.advance(0);
    await put(other, "elsewhere");
    await clock.advance(0);
    expect(backend.count("get")).toBe(1);
    await put(other, "b/1");
    await clock.advance(0);
    expect(backend.count("get")).toBe(2);
    await put(other, "done");
    await put(other, "a");
    await clock.advance(0);
    expect(wait.value).toBe("found");
  });

  test("of a prefix of which only some keys matter looks again for these, and for a gap", async () => {
    const { clock, client, backend, other } = await waiting();
    const look = async () => (await backend.kv.get("done")) && "found";
    const ranges = [{ prefix: "b/", only: new Set(["b/1"]) }];
    const wait = outcome(waitUntil(backend, ranges, look, { signal, recheckMs }));
    await clock.advance(0);
    await put(other, "b/2");
    await remove(other, "b/2");
    await clock.advance(0);
    expect(backend.count("get")).toBe(1);
    await put(other, "b/1");
    await clock.advance(0);
    expect(backend.count("get")).toBe(2);
    client.disconnect();
    for (let change = 0; change < 5_000; change++) await put(other, "b/2");
    await put(other, "done");
    client.reconnect();
    await clock.advance(0);
    expect(wait.value).toBe("found");
  });

  test("looks again when something changed while it looked", async () => {
    const { clock, backend, other, start } = await waiting();
    const slow = deferred<void>();
    backend.fault = async ({ name }, proceed) => {
      const answer = await proceed();
      if (name === "get" && backend.count("get") === 1) await slow.promise;
      return answer;
    };
    const wait = start();
    await clock.advance(0);
    await put(other, "done");
    await put(other, "a");
    await clock.advance(0);
    slow.resolve();
    await clock.advance(0);
    expect(wait.value).toBe("found");
  });

  test("looks again after a while, though the store dropped the event", async () => {
    const { clock, backend, other, start } = await waiting();
    backend.fault = async ({ name }, proceed) => (name === "watch" ? deaf() : proceed());
    const wait = start();
    await clock.advance(0);
    await put(other, "done");
    await put(other, "a");
    await clock.advance(recheckMs * 0.75 - 1);
    expect(wait.settled).toBe(false);
    await clock.advance(recheckMs * 0.5 + 1);
    expect(wait.value).toBe("found");
  });

  test("is only delayed by an outage, of the watch or of the look", async () => {
    const { clock, client, backend, other, start } = await waiting();
    let refusals = 5;
    backend.fault = async (_, proceed) => {
      if (refusals-- > 0) throw failure(refusals % 2 ? "UNAVAILABLE" : "OUTCOME_UNKNOWN");
      return proceed();
    };
    const wait = start();
    await clock.advance(5_000);
    client.disconnect();
    await clock.advance(60_000);
    await put(other, "done");
    await put(other, "a");
    expect(wait.settled).toBe(false);
    client.reconnect();
    await clock.advance(1_000);
    expect(wait.value).toBe("found");
  });

  test.each(["watch", "get"] as const)("rejects when its %s is refused for good", async (refused) => {
    const { clock, backend, start } = await waiting();
    backend.fault = async ({ name }, proceed) => {
      if (name === refused) throw failure("DENIED");
      return proceed();
    };
    const wait = start();
    await clock.advance(0);
    expect(wait.error).toMatchObject({ code: "DENIED" });
    expect(clock.pendingTimers).toBe(0);
  });

  test("rejects when a watch ends in an error later, and is not taken for done", async () => {
    const { clock, backend, start } = await waiting();
    const breaking = deferred<never>();
    backend.fault = async ({ name }, proceed) => (name === "watch" ? deaf(breaking.promise) : proceed());
    const wait = start();
    await clock.advance(100);
    breaking.reject(failure("DENIED"));
    await clock.advance(0);
    expect(wait.error).toMatchObject({ code: "DENIED" });
    expect(clock.pendingTimers).toBe(0);
  });

  test("ends with the signal's reason at once, wherever it was, and leaves nothing behind", async () => {
    for (const stage of ["watch", "get", "waiting"]) {
      const { clock, backend, other, start } = await waiting();
      backend.fault = async ({ name, options }, proceed) => {
        if (name === stage) await sleep(clock, 60_000, options?.signal ?? controller.signal);
        return proceed();
      };
      const controller = new AbortController();
      const wait = start(controller.signal);
      await clock.advance(100);
      controller.abort("enough");
      await clock.advance(0);
      expect(wait.error).toBe("enough");
      expect([getEventListeners(controller.signal, "abort").length, clock.pendingTimers]).toEqual([0, 0]);
      await put(other, "a");
    }
  });

  test("disposes its watches, however it ends", async () => {
    for (const end of ["found", "aborted", "denied"]) {
      const { clock, backend, other, start } = await waiting();
      let open = 0;
      backend.fault = async ({ name }, proceed) => {
        if (name === "get" && end === "denied") throw failure("DENIED");
        const answer = await proceed();
        if (name !== "watch") return answer;
        open += 1;
        return {
          [Symbol.asyncIterator]: () => answer[Symbol.asyncIterator](),
          [Symbol.asyncDispose]: () => {
            open -= 1;
            return answer[Symbol.asyncDispose]();
          },
        };
      };
      const controller = new AbortController();
      if (end === "found") await put(other, "done");
      const wait = start(controller.signal);
      await clock.advance(0);
      if (end === "aborted") controller.abort();
      await clock.advance(0);
      expect([wait.settled, backend.count("watch"), open]).toEqual([true, 2, 0]);
    }
  });
});

/** A watch that shows nothing, until it breaks. */
function deaf(breaking: Promise<never> = new Promise(() => {})) {
  return {
    [Symbol.asyncIterator]: () => ({ next: () => breaking }),
    [Symbol.asyncDispose]: async () => {},
  };
}
