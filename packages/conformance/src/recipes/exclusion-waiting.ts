import {
  type Backend,
  type CallOptions,
  type Commit,
  CoordinationError,
  sleep,
  type Txn,
} from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { remove } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { Contest, type Exclusive, Room, type Waiter } from "./exclusive.ts";
import {
  deathMs,
  type Process,
  quiet,
  rejection,
  start,
  startLinked,
  startMany,
  startMortal,
  staysOpen,
  within,
} from "./process.ts";

/** What becomes of those who wait in vain, and of those behind them. */
export function exclusionWaiting(suite: Suite, exclusive: Exclusive): void {
  suite.it("rejects at once with the signal's own reason when a wait is cancelled", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const waiter = await contest.join(await start(scene));
    const reason = new Error("the caller changed its mind");
    waiter.cancel(reason);
    expect(await within(backend, scene.timing.ttlMs / 4, rejection(waiter.granted))).toBe(reason);
    expect(holder.isHeld()).toBe(true);
    await contest.onlyLeft(holder.key);
  });

  suite.it("takes no place for a signal that has aborted already", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const process = await start(scene);
    await process.conclave.session();
    const reason = new Error("too late");
    expect(await rejection(contest.acquire(process, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    await quiet(backend, scene);
    expect(await contest.keys()).toEqual([]);
  });

  suite.it("keeps the line moving, and in order, when one in its middle gives up", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const [first, second, third] = await joinAll(contest, await startMany(scene, 3));
    second.cancel(new Error("no more"));
    await rejection(second.granted);
    await contest.onlyLeft(holder.key, first.key, third.key);
    await staysOpen(backend, scene, third.granted);
    await holder.release();
    const grant = await within(backend, scene.patienceMs, first.granted);
    await staysOpen(backend, scene, third.granted);
    await grant.release();
    expect((await within(backend, scene.patienceMs, third.granted)).key).toBe(third.key);
  });

  suite.it("lets the one behind in when the first who waits gives up as the holder leaves", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const [one, ...others] = (await startMany(scene, 3)) as [Process, ...Process[]];
    for (let turns = 0; turns < 6; turns++) {
      const holder = await contest.acquire(one);
      const [first, second] = await joinAll(contest, others);
      const released = holder.release();
      for (let turn = 0; turn < turns; turn++) await undefined;
      first.cancel(new Error("just now"));
      await released;
      const won = await first.granted.catch(() => undefined);
      await won?.release();
      await (await within(backend, scene.patienceMs, second.granted)).release();
    }
  });

  suite.it("either grants or leaves nothing, at whatever moment it is cancelled", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const process = await start(scene);
    await process.conclave.session();
    const outcomes = new Set<boolean>();
    let delayMs = 0;
    for (let round = 0; round < 40; round++) {
      const controller = new AbortController();
      const granted = contest.acquire(process, { signal: controller.signal });
      granted.catch(() => {});
      if (round % 2 === 0) for (let turn = 0; turn < round; turn++) await undefined;
      else await sleep(backend.clock, delayMs);
      controller.abort(new Error("now"));
      const grant = await within(backend, scene.patienceMs, granted).catch(() => undefined);
      outcomes.add(grant !== undefined);
      // Longer and longer, however slow the store is, until it grants; then from the start again.
      if (round % 2 === 1) delayMs = grant ? 0 : 0.1 + 2 * delayMs;
      await grant?.release();
    }
    expect(outcomes, "some were granted and some were not").toEqual(new Set([true, false]));
    await contest.onlyLeft();
  });

  suite.it("keeps one deadline for the whole wait, however often those ahead change", async (backend, scene) => {
    const { clock } = backend;
    const contest = new Contest(exclusive, backend, scene);
    await contest.acquire(await start(scene));
    const ahead = await joinAll(contest, await startMany(scene, 6));
    const waiter = await contest.join(await start(scene));
    const deadlineMs = scene.timing.ttlMs / 2;
    const startedMs = clock.monotonicMs();
    using _ = clock.after(deadlineMs, () => waiter.cancel(new Error("deadline")));
    const outcome = rejection(waiter.granted).then(() => clock.monotonicMs());
    for (const { cancel } of ahead.reverse()) {
      await sleep(clock, deadlineMs / 8);
      cancel(new Error("gone"));
    }
    expect((await outcome) - startedMs).toBeLessThan(deadlineMs + scene.timing.ttlMs / 4);
  });

  suite.it(
    "rejects a waiter whose own session is lost, within a second, and never grants it",
    async (backend, scene) => {
      const { clock } = backend;
      const contest = new Contest(exclusive, backend, scene);
      const holder = await contest.acquire(await start(scene));
      const victim = await startMortal(scene);
      const { signal } = await victim.conclave.session();
      const waiter = await contest.join(victim);
      let lostAtMs = Number.NaN;
      signal.addEventListener("abort", () => {
        lostAtMs = clock.monotonicMs();
      });
      await scene.kill(victim.backend);
      await failsWith("LEASE_LOST", within(backend, deathMs(scene), waiter.granted));
      expect(clock.monotonicMs() - lostAtMs).toBeLessThan(1_000);
      await holder.release();
      await contest.onlyLeft();
      await failsWith("LEASE_LOST", waiter.granted);
    },
  );

  suite.it("rejects a waiter whose place an operator deletes, and lets in the one behind", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const [first, second] = await joinAll(contest, await startMany(scene, 2));
    await remove(backend.kv, first.key);
    await failsWith("LEASE_LOST", within(backend, scene.patienceMs, first.granted));
    await staysOpen(backend, scene, second.granted);
    await holder.release();
    await within(backend, scene.patienceMs, second.granted);
  });

  suite.it("never grants on a place that was deleted as its turn came", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const [first, second] = await joinAll(contest, await startMany(scene, 2));
    await backend.kv.commit({ then: [{ delete: holder.key }, { delete: first.key }] });
    await failsWith("LEASE_LOST", within(backend, scene.patienceMs, first.granted));
    await within(backend, scene.patienceMs, second.granted);
  });

  suite.it("passes over the place of a waiter that died", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const room = new Room();
    const holder = await contest.acquire(await start(scene));
    room.enter(holder);
    const victim = await startMortal(scene);
    const dead = await contest.join(victim);
    const next = await contest.join(await start(scene));
    await scene.kill(victim.backend);
    await holder.release();
    room.enter(await within(backend, deathMs(scene), next.granted));
    await failsWith("LEASE_LOST", within(backend, deathMs(scene), dead.granted));
  });

  suite.it("takes back a place whose taking was given up, should it come about later", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const controller = new AbortController();
    let arrival: Promise<Commit> | undefined;
    const slowRoad = (inner: Backend): Backend => {
      const commit = async <const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> => {
        if (arrival) return inner.kv.commit(txn, options);
        arrival = sleep(inner.clock, scene.timing.ttlMs / 2).then(() => inner.kv.commit(txn));
        controller.abort(new Error("it takes too long"));
        throw new CoordinationError("OUTCOME_UNKNOWN", "it is still on its way");
      };
      return { ...inner, kv: { ...inner.kv, commit } };
    };
    const process = await startMortal(scene, {}, slowRoad);
    expect(await rejection(contest.acquire(process, { signal: controller.signal }))).toBe(controller.signal.reason);
    expect(await arrival, "the place was taken after all").toMatchObject({ succeeded: true });
    await contest.onlyLeft(holder.key);
  });

  suite.it("waits on while the store is away for a moment, and loses no hand-over to it", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const process = await startLinked(scene, { ttlMs: 20 * scene.timing.ttlMs });
    const waiter = await contest.join(process);
    process.link.cut();
    await holder.release();
    await staysOpen(backend, scene, waiter.granted);
    process.link.mend();
    await within(backend, scene.patienceMs + 2_000, waiter.granted);
  });

  suite.it("cleans up after a cancelled wait once the store is back, if it was away", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const process = await startLinked(scene);
    const waiter = await contest.join(process);
    const behind = await contest.join(await start(scene));
    process.link.cut();
    waiter.cancel(new Error("no more"));
    await within(backend, scene.timing.ttlMs / 4, rejection(waiter.granted));
    process.link.mend();
    await contest.onlyLeft(holder.key, behind.key);
    await holder.release();
    await within(backend, scene.patienceMs, behind.granted);
  });
}

async function joinAll(
  contest: Contest,
  processes: readonly Waiter["process"][],
): Promise<[Waiter, Waiter, Waiter, ...Waiter[]]> {
  const waiters: Waiter[] = [];
  for (const process of processes) waiters.push(await contest.join(process));
  return waiters as [Waiter, Waiter, Waiter, ...Waiter[]];
}
