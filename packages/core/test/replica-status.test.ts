import { describe, expect, test } from "vitest";
import { Replica } from "../src/replica.ts";
import { failure, outcome, put, world } from "./kit.ts";

describe("a view", () => {
  test("is no longer stale as soon as its watch tells something", async () => {
    const { clock, backend, other } = await world();
    const replica = await Replica.open(backend, "a/");
    backend.fault = async ({ name }, proceed) => {
      if (name === "list") throw failure("UNAVAILABLE");
      return proceed();
    };
    await clock.advance(8_000);
    expect(replica.view.stale).toBe(true);
    await put(other, "a/x");
    await clock.advance(1);
    expect([replica.view.stale, [...replica.view.entries.keys()]]).toEqual([false, ["a/x"]]);
  });

  test("whose watch ends without a word ends with an error", async () => {
    const { clock, backend } = await world();
    backend.fault = async ({ name }, proceed) => {
      const watch = await proceed();
      if (name === "watch") clock.after(100, () => void watch[Symbol.asyncDispose]());
      return watch;
    };
    const replica = await Replica.open(backend, "a/");
    const reading = outcome(
      (async () => {
        for await (const _ of replica);
      })(),
    );
    await clock.advance(200);
    expect(reading.error).toMatchObject({ code: "UNAVAILABLE" });
  });
});
