import { describe, expect, test } from "vitest";
import { Session } from "../src/session.ts";
import { world } from "./kit.ts";

const ttlMs = 10_000;

describe("the renewals of a session", () => {
  test("are sent about every third of the time to live, never at quite the same pace", async () => {
    const { clock, backend } = await world();
    const sent: number[] = [];
    backend.fault = (call, proceed) => {
      if (call.name === "keepAlive") sent.push(clock.monotonicMs());
      return proceed();
    };
    await Session.open(backend, { ttlMs });
    await clock.advance(100 * ttlMs);
    const pauses = sent.slice(1).map((at, index) => at - (sent[index] as number));
    expect(sent.length).toBeGreaterThan(299);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(ttlMs / 3);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual((ttlMs / 3) * 0.9);
    expect(new Set(pauses.map(Math.round)).size).toBeGreaterThan(50);
  });

  test("have a deadline of their own, shorter than the pause between them", async () => {
    const { clock, backend } = await world();
    await Session.open(backend, { ttlMs });
    await clock.advance(ttlMs);
    const deadlines = backend.calls.filter(({ name }) => name === "keepAlive").map(({ options }) => options?.timeoutMs);
    expect(deadlines.length).toBeGreaterThan(2);
    for (const deadline of deadlines) expect(deadline).toBeLessThan(ttlMs / 3);
  });
});
