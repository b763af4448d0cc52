import { tokenOf } from "@conclave/core";
import { sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { present, put, remove, texts, write } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { Contest, type Exclusive, line, Room } from "./exclusive.ts";
import { aborted, deathMs, noticeMs, start, startLinked, startMortal, startTampered, within } from "./process.ts";

/** How a holder learns that it is one no more, and what it can no longer do. */
export function exclusionLoss(suite: Suite, exclusive: Exclusive): void {
  suite.it("passes a dead holder's place on within its time to live and the store's lag", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const room = new Room();
    const victim = await startMortal(scene);
    const dead = await contest.acquire(victim);
    room.enter(dead);
    const next = await contest.join(await start(scene));
    await scene.kill(victim.backend);
    room.enter(await within(backend, deathMs(scene), next.granted));
    expect(dead.signal.reason).toMatchObject({ code: "LEASE_LOST" });
  });

  suite.it("tells a holder that its key was deleted within one renewal interval", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await startMortal(scene));
    await remove(backend.kv, holder.key);
    const { reason } = await within(backend, noticeMs(scene), aborted(backend, holder.signal));
    expect(reason).toMatchObject({ code: "LEASE_LOST" });
    expect(holder.isHeld()).toBe(false);
  });

  suite.it("tells a holder whose key was deleted and made anew by another", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await startMortal(scene));
    await remove(backend.kv, holder.key);
    await write(backend.kv, { [holder.key]: "another's" });
    await within(backend, noticeMs(scene), aborted(backend, holder.signal));
    await holder.release();
    expect(await texts(backend.kv)).toMatchObject({ [holder.key]: "another's" });
  });

  suite.it("is not held from the moment its time is over, though no timer fired", async (backend, scene) => {
    const process = await startTampered(scene);
    const holder = await new Contest(exclusive, backend, scene).acquire(process);
    const session = await process.conclave.session();
    process.clock.holdTimers();
    const remainingMs = session.remainingMs();
    expect(remainingMs).toBeLessThan(session.lease.ttlMs);
    await sleep(backend.clock, remainingMs / 2);
    expect(holder.isHeld()).toBe(true);
    await sleep(backend.clock, remainingMs / 2 + 1);
    expect(holder.isHeld()).toBe(false);
    expect(holder.signal.reason).toMatchObject({ code: "LEASE_LOST" });
  });

  suite.it("takes it well when it is released twice, even at the same time", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const process = await start(scene);
    const holder = await contest.acquire(process);
    await Promise.all([holder.release(), holder.release()]);
    const next = await contest.acquire(process);
    await holder.release();
    expect(next.isHeld()).toBe(true);
    expect(await contest.keys()).toEqual([next.key]);
  });

  suite.it("leaves the successor alone when a holder releases what it lost", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const process = await startMortal(scene);
    const lost = await contest.acquire(process);
    const next = await contest.join(await start(scene));
    await remove(backend.kv, lost.key);
    const successor = await within(backend, scene.patienceMs, next.granted);
    await lost.release();
    expect(successor.isHeld()).toBe(true);
    expect(await contest.keys()).toEqual([successor.key]);
  });

  suite.it(
    "guards by, and releases, the incarnation that it held, not whatever has its name",
    async (backend, scene) => {
      const { conclave } = await start(scene);
      const holder = await exclusive.acquire(conclave, { prefix: line });
      await remove(backend.kv, holder.key);
      await write(backend.kv, { [holder.key]: "another's" });
      expect((await conclave.kv.commit(holder.guard({ then: [put("data", "late")] }))).succeeded).toBe(false);
      await holder.release();
      expect(await texts(backend.kv)).toMatchObject({ [holder.key]: "another's" });
    },
  );

  suite.it(
    "applies what a holder guards, and refuses it once the key is gone, or is another's",
    async (backend, scene) => {
      const contest = new Contest(exclusive, backend, scene);
      const first = await start(scene);
      const holder = await contest.acquire(first);
      const write = (grant: typeof holder, text: string) => grant.guard({ then: [put("data", text)] });
      expect((await first.conclave.kv.commit(write(holder, "first"))).succeeded).toBe(true);
      const second = await start(scene);
      const next = await contest.join(second);
      await remove(backend.kv, holder.key);
      const successor = await within(backend, scene.patienceMs, next.granted);
      expect((await second.conclave.kv.commit(write(successor, "second"))).succeeded).toBe(true);
      expect((await first.conclave.kv.commit(write(holder, "late"))).succeeded).toBe(false);
      expect(await texts(backend.kv)).toMatchObject({ data: "second" });
      await successor.release();
      expect((await second.conclave.kv.commit(write(successor, "late"))).succeeded).toBe(false);
    },
  );

  suite.it("keeps the caller's own conditions in what it guards", async (backend, scene) => {
    const { conclave } = await start(scene);
    const holder = await exclusive.acquire(conclave, "a");
    const txn = { if: [{ key: "data", exists: true }], then: [put("data", "")] } as const;
    expect((await conclave.kv.commit(holder.guard(txn))).succeeded).toBe(false);
    await write(backend.kv, { data: "" });
    expect((await conclave.kv.commit(holder.guard(txn))).succeeded).toBe(true);
  });

  suite.it("frees what a process holds, at once, when its conclave closes", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const process = await start(scene);
    const holder = await contest.acquire(process);
    const next = await contest.join(await start(scene));
    await process.conclave.close();
    expect(holder.isHeld()).toBe(false);
    expect(holder.signal.reason).toMatchObject({ code: "CLOSED" });
    await within(backend, scene.patienceMs, next.granted);
  });

  suite.it(
    "rejects those who wait with CLOSED, and leaves no place of theirs, when it closes",
    async (backend, scene) => {
      const contest = new Contest(exclusive, backend, scene);
      const holder = await contest.acquire(await start(scene));
      const process = await start(scene);
      const waiter = await contest.join(process);
      const behind = await contest.join(await start(scene));
      await process.conclave.close();
      await failsWith("CLOSED", waiter.granted);
      await failsWith("CLOSED", contest.acquire(process));
      await contest.onlyLeft(holder.key, behind.key);
      await holder.release();
      await within(backend, scene.patienceMs, behind.granted);
    },
  );

  suite.it("releases once the store is back, if it was away", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const process = await startLinked(scene);
    const holder = await contest.acquire(process);
    const next = await contest.join(await start(scene));
    process.link.cut();
    await within(backend, scene.timing.ttlMs / 2, holder.release());
    expect(holder.isHeld()).toBe(false);
    process.link.mend();
    await within(backend, scene.patienceMs, next.granted);
  });

  suite.it("is not taken again behind the back of who lost it, who can take it anew", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const room = new Room();
    const process = await startLinked(scene);
    const lost = await contest.acquire(process);
    room.enter(lost);
    process.link.cut();
    await within(backend, deathMs(scene), aborted(backend, lost.signal));
    process.link.mend();
    await contest.onlyLeft();
    expect(lost.isHeld()).toBe(false);
    const anew = await within(backend, scene.patienceMs, contest.acquire(process));
    room.enter(anew);
    expect(tokenOf((await present(backend.kv, anew.key)).created)).toBe(anew.token);
    expect(lost.isHeld()).toBe(false);
  });
}
