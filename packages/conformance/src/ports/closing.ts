import { type Backend, type CoordinationError, isCoordinationError, type Lease, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { numbered, put, texts, write } from "../entries.ts";
import { failsWith } from "./leases.ts";

type Options = { readonly signal?: AbortSignal; readonly timeoutMs?: number };

/** Every call there is, by name. */
function calls(
  { kv, leases, watches }: Backend,
  prefix: string,
  lease: Lease,
): readonly (readonly [string, (options?: Options) => Promise<unknown>])[] {
  return [
    ["get", (options) => kv.get(`${prefix}key`, options)],
    ["list", (options) => kv.list(prefix, options)],
    ["commit", (options) => kv.commit({ then: [put(`${prefix}key`, "written")] }, options)],
    ["a reading commit", (options) => kv.commit({ then: [{ get: `${prefix}key` }] }, options)],
    ["grant", (options) => leases.grant({ ttlMs: lease.ttlMs, ...options })],
    ["keepAlive", (options) => lease.keepAlive(options)],
    ["revoke", (options) => lease.revoke(options)],
    ["watch", (options) => watches.watch({ prefix }, options)],
  ];
}

/** How calls are given up, cut off and closed. */
export function closing(suite: Suite): void {
  suite.it(
    "rejects every call on an aborted signal with the signal's own reason, and sends nothing",
    async (backend, scene) => {
      const unscoped = await scene.connectUnscoped();
      const lease = await unscoped.leases.grant({ ttlMs: Math.min(60_000, unscoped.limits.maxTtlMs) });
      await unscoped.kv.commit({ then: [put(`${scene.prefix}leased`, "", lease)] });
      for (const reason of [new Error("enough"), { any: "thing" }, "text", 0]) {
        for (const [name, call] of calls(unscoped, scene.prefix, lease)) {
          const outcome: unknown = await call({ signal: AbortSignal.abort(reason) }).then(
            () => "it went well",
            (error: unknown) => ({ error }),
          );
          expect(outcome, name).toEqual({ error: reason });
          expect((outcome as { error: unknown }).error, name).toBe(reason);
        }
      }
      expect(await texts(backend.kv)).toEqual({ leased: "" });
      await lease.revoke();
    },
  );

  suite.it(
    "rejects a read that is aborted on its way with the signal's own reason, or has answered",
    async ({ kv }) => {
      await write(kv, { key: "value" });
      for (const read of [(options: Options) => kv.get("key", options), (options: Options) => kv.list("", options)]) {
        const [controller, reason] = [new AbortController(), new Error("enough")];
        const outcome = read({ signal: controller.signal }).then(
          () => "answered",
          (error: unknown) => error,
        );
        controller.abort(reason);
        expect(["answered", reason]).toContain(await outcome);
      }
    },
  );

  suite.it(
    "settles a commit that is aborted on its way with the truth: its answer, or not sent",
    async ({ kv }, scene) => {
      const other = await scene.connect();
      for (const key of numbered(20)) {
        const controller = new AbortController();
        const outcome = kv.commit({ then: [put(key, "")] }, { signal: controller.signal }).then(
          () => "applied",
          (error: unknown) => error,
        );
        for (let turn = Number(key) % 10; turn > 0; turn--) await undefined;
        controller.abort(new Error("enough"));
        const settled = await outcome;
        expect(["applied", controller.signal.reason]).toContain(settled);
        expect((await other.kv.get(key)) !== undefined).toBe(settled === "applied");
      }
    },
  );

  suite.it(
    "ends a call whose deadline is short within a moment, with an answer or a code",
    async ({ clock, kv }, scene) => {
      for (const key of numbered(10)) {
        const outcome: unknown = await kv.commit({ then: [put(key, "")] }, { timeoutMs: 0.01 }).then(
          () => "applied",
          (error: unknown) => error,
        );
        if (outcome === "applied") expect(await kv.get(key)).toBeDefined();
        else {
          expect(isCoordinationError(outcome, "UNAVAILABLE", "OUTCOME_UNKNOWN"), String(outcome)).toBe(true);
          if (isCoordinationError(outcome, "UNAVAILABLE")) {
            await sleep(clock, scene.timing.watchDelayMs);
            expect(await kv.get(key)).toBeUndefined();
          }
        }
      }
    },
  );

  suite.it("fails every call of a process that was killed, with a code, by its deadline", async (backend, scene) => {
    const victim = await scene.connectUnscoped();
    const lease = await victim.leases.grant({ ttlMs: scene.timing.ttlMs });
    await scene.kill(victim);
    const timeoutMs = scene.timing.ttlMs;
    const start = victim.clock.monotonicMs();
    const fails = calls(victim, scene.prefix, lease).map(async ([name, call]) => {
      const error: unknown = await call({ timeoutMs }).catch((reason: unknown) => reason);
      expect(isCoordinationError(error), `${name}: ${String(error)}`).toBe(true);
      const reads = ["get", "list", "a reading commit", "watch"].includes(name);
      const codes = reads ? ["UNAVAILABLE"] : ["UNAVAILABLE", "OUTCOME_UNKNOWN", "LEASE_LOST"];
      expect(codes, name).toContain((error as CoordinationError).code);
      expect(victim.clock.monotonicMs() - start, name).toBeLessThan(timeoutMs + scene.patienceMs);
    });
    await Promise.all(fails);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("rejects every call after close with CLOSED", async (backend, scene) => {
    const process = await scene.connectUnscoped();
    const lease = await process.leases.grant({ ttlMs: scene.timing.ttlMs });
    await process[Symbol.asyncDispose]();
    for (const [, call] of calls(process, scene.prefix, lease)) await failsWith("CLOSED", call());
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("takes it well to be closed twice", async (_, scene) => {
    const process = await scene.connectUnscoped();
    await process[Symbol.asyncDispose]();
    await process[Symbol.asyncDispose]();
  });

  suite.it("closes once for all who close at the same time", async (_, scene) => {
    const process = await scene.connectUnscoped();
    const first = process[Symbol.asyncDispose]();
    expect(process[Symbol.asyncDispose]()).toBe(first);
    await first;
  });

  suite.it(
    "settles the calls that are under way when it is closed, each with the truth or a code",
    async (backend, scene) => {
      const process = await scene.connectUnscoped();
      const keys = numbered(10, scene.prefix);
      const outcomes = keys.map((key) =>
        process.kv.commit({ then: [put(key, "")] }).then(
          () => "applied",
          (error: unknown) => (isCoordinationError(error) ? error.code : error),
        ),
      );
      await process[Symbol.asyncDispose]();
      for (const [index, outcome] of (await Promise.all(outcomes)).entries()) {
        expect(["applied", "CLOSED", "UNAVAILABLE", "OUTCOME_UNKNOWN"]).toContain(outcome);
        const isThere = (await backend.kv.get(numbered(10)[index] as string)) !== undefined;
        if (outcome === "applied") expect(isThere).toBe(true);
        if (outcome === "UNAVAILABLE") expect(isThere).toBe(false);
      }
    },
  );

  suite.it("closes a process and leaves the others at work", async (backend, scene) => {
    const process = await scene.connectUnscoped();
    await process.kv.commit({ then: [put(`${scene.prefix}key`, "left behind")] });
    await process[Symbol.asyncDispose]();
    expect(await texts(backend.kv)).toEqual({ key: "left behind" });
  });

  suite.it("closes a process that was killed", async (_, scene) => {
    const victim = await scene.connectUnscoped();
    await scene.kill(victim);
    await victim[Symbol.asyncDispose]();
  });

  suite.it("says what it is, in limits and guarantees that are numbers and words", async (_, scene) => {
    const { name, limits, guarantees } = await scene.connectUnscoped();
    expect(name).toMatch(/./);
    expect(limits.maxOperations).toBeGreaterThanOrEqual(100);
    expect(limits.maxKeyBytes).toBeGreaterThanOrEqual(512);
    expect(limits.maxTxnBytes).toBeGreaterThanOrEqual(512 * 1024);
    expect(limits.maxTtlMs).toBeGreaterThanOrEqual(scene.timing.ttlMs);
    expect(limits.minTtlMs).toBeGreaterThan(0);
    expect(guarantees.expiryLagMs).toBeGreaterThanOrEqual(0);
    expect(guarantees.watchDelayMs).toBeGreaterThanOrEqual(0);
    expect(guarantees.consistency).toMatch(/\w/);
    expect(guarantees.failover).toMatch(/\w/);
  });
}
