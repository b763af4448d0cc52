import { sleep } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { Session } from "../src/session.ts";
import { Faulty, failure, outcome, put, StallingClock, world } from "./kit.ts";

const ttlMs = 10_000;
/** Of ten seconds less one per cent of drift and 50 ms of margin. */
const validMs = 9_850;

async function sessionOn(backend: Faulty): Promise<{ session: Session; lost: unknown[] }> {
  const session = await Session.open(backend, { ttlMs });
  const lost: unknown[] = [];
  session.signal.addEventListener("abort", () => lost.push(session.signal.reason));
  return { session, lost };
}

describe("the deadline of a session", () => {
  test("is the time its grant was sent, plus the time to live, less drift and margin", async () => {
    const { clock, backend, client } = await world();
    backend.fault = async ({ name }, proceed) => {
      if (name !== "grant") return proceed();
      const lease = await proceed();
      await sleep(clock, 2_000);
      return lease;
    };
    const opening = sessionOn(backend);
    await clock.advance(2_000);
    const { session } = await opening;
    client.disconnect();
    expect(session.remainingMs()).toBe(validMs - 2_000);
    await clock.advance(validMs - 2_001);
    expect(session.isAlive()).toBe(true);
    await clock.advance(1);
    expect(session.signal.reason).toMatchObject({ code: "LEASE_LOST" });
  });

  test("lets the first renewal come in time after a slow grant", async () => {
    const { clock, backend } = await world();
    backend.fault = async ({ name }, proceed) => {
      if (name !== "grant") return proceed();
      const lease = await proceed();
      await sleep(clock, 7_500);
      return lease;
    };
    const opening = sessionOn(backend);
    await clock.advance(7_500);
    const { session } = await opening;
    await clock.advance(60_000);
    expect(session.isAlive()).toBe(true);
  });

  test("counts from when the acknowledged renewal was sent, however late the answer", async () => {
    const { clock, backend, client } = await world();
    const { session } = await sessionOn(backend);
    let sentAt = 0;
    backend.fault = async ({ name }, proceed) => {
      if (name !== "keepAlive") return proceed();
      sentAt = clock.monotonicMs();
      const granted = await proceed();
      client.disconnect();
      await sleep(clock, 2_400);
      return granted;
    };
    await clock.advance(ttlMs / 3 + 2_401);
    expect(session.remainingMs()).toBeCloseTo(sentAt + validMs - clock.monotonicMs(), 3);
    await clock.advance(sentAt + validMs - clock.monotonicMs() - 1);
    expect(session.isAlive()).toBe(true);
    await clock.advance(1);
    expect(session.isAlive()).toBe(false);
  });

  test("honours the time to live that was granted, on opening and with each renewal", async () => {
    const { clock, backend, client } = await world({ mode: "weak" });
    const session = await Session.open(backend, { ttlMs: 9_990 });
    expect(session.lease.ttlMs).toBe(ttlMs);
    expect(session.remainingMs()).toBe(validMs);
    backend.fault = async ({ name }, proceed) => (name === "keepAlive" ? (await proceed()) + 20_000 : proceed());
    await clock.advance(ttlMs / 3);
    client.disconnect();
    expect(session.remainingMs()).toBeGreaterThan(3 * validMs - 1_000);
  });

  test("comes before the store gives the keys away", async () => {
    const { clock, backend, client, other } = await world();
    const { session } = await sessionOn(backend);
    await put(client, "mine", "", session.lease);
    await clock.advance(3_400);
    client.disconnect();
    let aliveAtLast = 0;
    while (await other.kv.get("mine")) {
      if (session.isAlive()) aliveAtLast = clock.monotonicMs();
      await clock.advance(10);
    }
    const given = clock.monotonicMs();
    expect(given - aliveAtLast).toBeGreaterThanOrEqual(50);
    expect(given - aliveAtLast).toBeLessThan(ttlMs * 0.02);
  });

  test("has passed in the first line after the process was stopped, before any timer fires", async () => {
    const { clock, client } = await world();
    const stalling = new StallingClock(clock);
    const { session, lost } = await sessionOn(new Faulty(client, stalling));
    stalling.stall(validMs - 1);
    expect(session.isAlive()).toBe(true);
    stalling.stall(1);
    expect(session.signal.aborted).toBe(false);
    expect(session.isAlive()).toBe(false);
    expect(lost).toMatchObject([{ code: "LEASE_LOST" }]);
    expect(() => session.throwIfEnded()).toThrow(session.signal.reason);
  });

  test("comes early when the wall clock is stepped forwards, and not late when it is stepped back", async () => {
    for (const stepMs of [3_600_000, -3_600_000]) {
      const { clock, backend, client } = await world();
      const { session } = await sessionOn(backend);
      client.disconnect();
      clock.stepWall(stepMs);
      expect(session.isAlive()).toBe(stepMs < 0);
      await clock.advance(validMs - 1);
      expect(session.isAlive()).toBe(stepMs < 0);
      await clock.advance(1);
      expect(session.isAlive()).toBe(false);
    }
  });
});

describe("the end of a session", () => {
  test("is final: a renewal acknowledged after the deadline revives nothing", async () => {
    const { clock, client } = await world();
    const stalling = new StallingClock(clock);
    const backend = new Faulty(client, stalling);
    const { session, lost } = await sessionOn(backend);
    let acknowledged = 0;
    backend.fault = async ({ name }, proceed) => {
      if (name !== "keepAlive") return proceed();
      if (clock.monotonicMs() < 9_000) throw failure("UNAVAILABLE");
      const granted = await proceed();
      stalling.stall(2_000); // past the deadline, and no timer fires
      acknowledged += 1;
      return granted;
    };
    for (; acknowledged === 0; await clock.advance(10));
    expect(session.isAlive()).toBe(false);
    await clock.advance(ttlMs);
    expect([session.isAlive(), lost, acknowledged]).toMatchObject([false, [{ code: "LEASE_LOST" }], 1]);
  });

  test("comes at once when the store says that the lease is gone", async () => {
    const { clock, backend, client } = await world();
    const { session, lost } = await sessionOn(backend);
    await client.kv.get("anything");
    await session.lease.revoke();
    await clock.advance(ttlMs / 3);
    expect(lost).toMatchObject([{ code: "LEASE_LOST" }]);
    expect(clock.pendingTimers).toBe(0);
  });

  test.each(["UNAVAILABLE", "OUTCOME_UNKNOWN", "DENIED", "LIMIT"] as const)(
    "comes once, at the deadline, when renewals fail with %s, which are tried again until then",
    async (code) => {
      const { clock, backend } = await world();
      const { session, lost } = await sessionOn(backend);
      backend.fault = async ({ name }, proceed) => {
        if (name === "keepAlive") throw failure(code);
        return proceed();
      };
      await clock.advance(validMs - 1);
      expect(lost).toEqual([]);
      expect(backend.count("keepAlive")).toBeGreaterThan(5);
      expect(backend.count("keepAlive")).toBeLessThan(200);
      await clock.advance(1);
      expect(lost).toMatchObject([{ code: "LEASE_LOST" }]);
      const tried = backend.count("keepAlive");
      await clock.advance(5 * ttlMs);
      expect(backend.count("keepAlive")).toBe(tried);
      await session.close();
      expect([session.isAlive(), lost.length, backend.count("revoke")]).toEqual([false, 1, 0]);
    },
  );

  test("does not come of an outage shorter than the time to live", async () => {
    const { clock, backend, client } = await world();
    const { session, lost } = await sessionOn(backend);
    for (let outage = 0; outage < 10; outage++) {
      client.disconnect();
      await clock.advance(5_000);
      client.reconnect();
      await clock.advance(5_000);
    }
    expect([session.isAlive(), lost]).toEqual([true, []]);
  });

  test("is CLOSED after close, and never a loss after that", async () => {
    const { clock, backend, other } = await world();
    const { session, lost } = await sessionOn(backend);
    await put(backend, "mine", "", session.lease);
    const told: unknown[] = [];
    session.watchOver({ key: "mine", created: 2n, lost: (reason) => told.push(reason) });
    await session.close();
    await session.close();
    expect(await other.kv.get("mine")).toBeUndefined();
    await clock.advance(3 * ttlMs);
    expect(lost).toMatchObject([{ code: "CLOSED" }]);
    expect(told).toEqual(lost);
    expect(backend.count("revoke")).toBe(1);
  });

  test("by close leaves no timer behind, whatever was going on", async () => {
    const { clock, backend, client } = await world();
    for (const ms of [0, 100, 3_333, 3_400, 9_000]) {
      const { session } = await sessionOn(backend);
      void session.discard(["never-written"]);
      if (ms > 5_000) client.disconnect();
      await clock.advance(ms);
      await session.close();
      client.reconnect();
      await clock.advance(ttlMs);
      expect(clock.pendingTimers).toBe(0);
    }
  });

  test("by close does not wait longer than one cleanup for a store that answers nothing", async () => {
    const { clock, backend } = await world();
    const { session } = await sessionOn(backend);
    for (let index = 0; index < 50; index++) await session.discard([`mine-${index}`]);
    // A store that hangs until the call's own deadline.
    backend.fault = async ({ name, options }, proceed) => {
      if (name === "keepAlive") return proceed();
      await sleep(clock, options?.timeoutMs ?? 60_000, name === "commit" ? options?.signal : undefined);
      throw failure("UNAVAILABLE");
    };
    await clock.advance(ttlMs / 3);
    const closing = outcome(session.close());
    await clock.advance(4_000);
    expect(closing.settled).toBe(true);
    await clock.advance(ttlMs);
  });
});
