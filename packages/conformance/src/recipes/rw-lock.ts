import type { Hold, LockMode } from "@conclave/core";
import { type Backend, seededRandom, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { keysOf, numbered, present, remove, texts } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import {
  aborted,
  deathMs,
  noticeMs,
  type Process,
  quiet,
  rejection,
  start,
  startLinked,
  startMany,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";
import { cost, settled, startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, insist, seeds, Trouble, troubledMs } from "./under-jitter.ts";

/** Someone whose place in line is taken. */
interface Waiter<H extends Hold = Hold> {
  readonly key: string;
  readonly granted: Promise<H>;
  cancel(reason: unknown): void;
}

async function line({ kv }: Backend): Promise<string[]> {
  return keysOf(await kv.list("rwlock/a/", { order: "oldest" }));
}

/** Takes the next place in the line of the lock "a"; resolves once it is taken. */
async function join(bystander: Backend, scene: Scene, { conclave }: Process, mode: LockMode): Promise<Waiter> {
  const before = new Set(await line(bystander));
  const controller = new AbortController();
  const granted: Promise<Hold> = conclave.rwLock("a")[mode]({ signal: controller.signal });
  granted.catch(() => {});
  const key = await scene.eventually(bystander, async () => {
    const [joined] = (await line(bystander)).filter((key) => !before.has(key));
    expect(joined, "the place is taken").toBeDefined();
    return joined as string;
  });
  return { key, granted, cancel: (reason) => controller.abort(reason) };
}

/** Who is let in together. */
class ReadingRoom {
  readonly #holds: { readonly hold: Hold; readonly mode: () => LockMode }[] = [];
  /** The most readers that were there together. */
  most = 0;

  enter(hold: Hold, mode: () => LockMode): void {
    const others = this.#holds.filter((one) => one.hold.isHeld());
    this.#holds.push({ hold, mode });
    if (mode() === "write")
      expect(
        others.map(({ hold }) => hold.key),
        "a writer is alone",
      ).toEqual([]);
    else
      expect(
        others.filter((one) => one.mode() === "write"),
        "nobody reads while one writes",
      ).toEqual([]);
    this.most = Math.max(this.most, others.length + 1);
  }

  get visits(): number {
    return this.#holds.length;
  }
}

/** Who reads together, and who writes alone. */
export function rwLock(suite: Suite): void {
  suite.it("lets in all who read, and nobody who writes until the last of them has left", async (backend, scene) => {
    const [one, other, third] = (await startMany(scene, 3)) as [Process, Process, Process];
    const first = await one.conclave.rwLock("a").read();
    const second = await within(backend, scene.patienceMs, other.conclave.rwLock("a").read());
    expect([first.isHeld(), second.isHeld()]).toEqual([true, true]);
    const writer = await join(backend, scene, third, "write");
    await first.release();
    await staysOpen(backend, scene, writer.granted);
    await second.release();
    const hold = await within(backend, scene.patienceMs, writer.granted);
    expect(hold.token > first.token && hold.token > second.token).toBe(true);
  });

  suite.it("waits for the last reader also when the first to come is the last to leave", async (backend, scene) => {
    const process = await start(scene);
    const holds = [];
    for (let reader = 0; reader < 3; reader++) holds.push(await process.conclave.rwLock("a").read());
    const writer = await join(backend, scene, await start(scene), "write");
    for (const hold of holds.reverse()) {
      await staysOpen(backend, scene, writer.granted);
      await hold.release();
    }
    await within(backend, scene.patienceMs, writer.granted);
  });

  suite.it("lets nobody in beside one who writes, and all who read at once when it leaves", async (backend, scene) => {
    const hold = await (await start(scene)).conclave.rwLock("a").write();
    const readers = [];
    for (const process of await startMany(scene, 3)) readers.push(await join(backend, scene, process, "read"));
    await Promise.all(readers.map(({ granted }) => staysOpen(backend, scene, granted)));
    await hold.release();
    const holds = await within(backend, scene.patienceMs, Promise.all(readers.map(({ granted }) => granted)));
    for (const reader of holds) {
      expect(reader.isHeld()).toBe(true);
      expect(reader.token).toBeGreaterThan(hold.token);
    }
  });

  suite.it("keeps readers who come after a writer behind it", async (backend, scene) => {
    const [one, other, third, fourth] = (await startMany(scene, 4)) as [Process, Process, Process, Process];
    const first = await one.conclave.rwLock("a").read();
    const writer = await join(backend, scene, other, "write");
    const late = await join(backend, scene, third, "read");
    const later = await join(backend, scene, fourth, "write");
    await staysOpen(backend, scene, late.granted);
    await first.release();
    const writing = await within(backend, scene.patienceMs, writer.granted);
    await staysOpen(backend, scene, late.granted);
    await writing.release();
    const reading = await within(backend, scene.patienceMs, late.granted);
    await staysOpen(backend, scene, later.granted);
    await reading.release();
    await within(backend, scene.patienceMs, later.granted);
  });

  suite.it("starves no writer, though there is always somebody who reads", async (backend, scene) => {
    const lock = (process: Process) => process.conclave.rwLock("a");
    const [writer, ...readers] = (await startMany(scene, 4)) as [Process, ...Process[]];
    let over = false;
    let overlaps = 0;
    let reading = 0;
    const read = async (process: Process) => {
      while (!over) {
        const hold = await lock(process).read();
        reading += 1;
        if (reading > 1) overlaps += 1;
        await sleep(backend.clock, scene.timing.ttlMs / 20);
        reading -= 1;
        await hold.release();
      }
    };
    const stream = Promise.all(readers.map(read));
    await scene.eventually(backend, () => expect(overlaps).toBeGreaterThan(3));
    const hold = await within(backend, scene.patienceMs, lock(writer).write());
    expect(reading, "nobody reads while one writes").toBe(0);
    over = true;
    await hold.release();
    await within(backend, scene.patienceMs, stream);
  });

  suite.it("lets readers in who waited behind a writer that gives up", async (backend, scene) => {
    const hold = await (await start(scene)).conclave.rwLock("a").read();
    const writer = await join(backend, scene, await start(scene), "write");
    const [one, other] = await startPair(scene);
    const readers = [await join(backend, scene, one, "read"), await join(backend, scene, other, "read")];
    const reason = new Error("no more");
    writer.cancel(reason);
    expect(await rejection(writer.granted)).toBe(reason);
    await within(backend, scene.patienceMs, Promise.all(readers.map(({ granted }) => granted)));
    expect(hold.isHeld()).toBe(true);
  });

  suite.it("gives the lock to who only tries, unless somebody is in the way", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const [lock, same] = [one.conclave.rwLock("a"), other.conclave.rwLock("a")];
    const first = (await lock.tryRead()) as Hold;
    const second = (await same.tryRead()) as Hold;
    expect(second.isHeld()).toBe(true);
    const before = await texts(backend.kv);
    expect(await same.tryWrite()).toBeUndefined();
    expect(await texts(backend.kv), "nothing is written").toEqual(before);
    const writer = await join(backend, scene, other, "write");
    expect(await lock.tryRead(), "not past a writer who waits").toBeUndefined();
    writer.cancel(new Error("no more"));
    await first.release();
    await second.release();
    await scene.eventually(backend, async () => expect(await line(backend)).toEqual([]));
    const writing = await lock.tryWrite();
    expect(writing?.mode).toBe("write");
    expect(await same.tryRead()).toBeUndefined();
    expect(await same.tryWrite()).toBeUndefined();
    await writing?.downgrade();
    expect((await same.tryRead())?.isHeld(), "past a writer that only reads now").toBe(true);
    expect(await same.tryWrite()).toBeUndefined();
  });

  suite.it("shows who holds it and who waits, in order, and what for", async (backend, scene) => {
    const processes = await Promise.all(["ann", "bob", "cy"].map((owner) => start(scene, { owner })));
    const [ann, bob, cy] = processes as [Process, Process, Process];
    const hold = await ann.conclave.rwLock("a").write();
    const reader = await join(backend, scene, bob, "read");
    await join(backend, scene, cy, "write");
    const queue = async () =>
      (await cy.conclave.rwLock("a").queue()).map(({ owner, mode, key }) => ({ owner, mode, key }));
    expect(await queue()).toMatchObject([
      { owner: "ann", mode: "write", key: hold.key },
      { owner: "bob", mode: "read", key: reader.key },
      { owner: "cy", mode: "write" },
    ]);
    await hold.downgrade();
    expect((await queue())[0]).toEqual({ owner: "ann", mode: "read", key: hold.key });
  });

  suite.it("runs work to read and to write, and leaves nothing behind", async (backend, scene) => {
    const lock = (await start(scene)).conclave.rwLock("a");
    expect(await lock.runRead(() => lock.runRead((hold) => hold.isHeld()))).toBe(true);
    expect(await lock.runWrite(async (hold) => [hold.mode, await lock.tryRead()])).toEqual(["write", undefined]);
    const failure = new Error("the work failed");
    expect(await rejection(lock.runWrite(() => Promise.reject(failure)))).toBe(failure);
    expect(await rejection(lock.runRead(() => Promise.reject(failure)))).toBe(failure);
    expect(await texts(backend.kv)).toEqual({});
  });
}

/** A writer that goes on as a reader. */
export function rwLockDowngrade(suite: Suite): void {
  suite.it("lets readers in at once, and keeps writers out who were there before them", async (backend, scene) => {
    const [one, other, third, fourth] = (await startMany(scene, 4)) as [Process, Process, Process, Process];
    const hold = await one.conclave.rwLock("a").write();
    const reader = await join(backend, scene, other, "read");
    const writer = await join(backend, scene, third, "write");
    const behind = await join(backend, scene, fourth, "read");
    await staysOpen(backend, scene, reader.granted);
    await hold.downgrade();
    expect(hold.mode).toBe("read");
    const reading = await within(backend, scene.patienceMs, reader.granted);
    await Promise.all([staysOpen(backend, scene, writer.granted), staysOpen(backend, scene, behind.granted)]);
    expect([hold.isHeld(), reading.isHeld()]).toEqual([true, true]);
    await reading.release();
    await staysOpen(backend, scene, writer.granted);
    await hold.release();
    const writing = await within(backend, scene.patienceMs, writer.granted);
    await staysOpen(backend, scene, behind.granted);
    await writing.release();
    await within(backend, scene.patienceMs, behind.granted);
  });

  suite.it("leaves no gap for a writer who waits, and keeps key, token and guard", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const hold = await one.conclave.rwLock("a").write();
    const writer = await join(backend, scene, other, "write");
    const before = await present(backend.kv, hold.key);
    await hold.downgrade();
    const after = await present(backend.kv, hold.key);
    expect([after.created, after.lease]).toEqual([before.created, before.lease]);
    expect((await one.conclave.kv.commit(hold.guard({ then: [] }))).succeeded).toBe(true);
    await staysOpen(backend, scene, writer.granted);
    await hold.downgrade();
    await staysOpen(backend, scene, writer.granted);
    await hold.release();
    await within(backend, scene.patienceMs, writer.granted);
    expect(await line(backend)).toEqual([writer.key]);
  });

  suite.it("lets in readers who come later, as long as no writer came before them", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const hold = await one.conclave.rwLock("a").write();
    await hold.downgrade();
    const reading = await within(backend, scene.patienceMs, other.conclave.rwLock("a").read());
    await hold.release();
    const writer = await join(backend, scene, one, "write");
    await staysOpen(backend, scene, writer.granted);
    await reading.release();
    await within(backend, scene.patienceMs, writer.granted);
  });

  suite.it("is refused to who holds the lock no more", async (backend, scene) => {
    const { conclave } = await start(scene);
    const released = await conclave.rwLock("a").write();
    await released.release();
    await failsWith("NOT_HELD", released.downgrade());
    const deleted = await conclave.rwLock("a").write();
    await remove(backend.kv, deleted.key);
    await failsWith("NOT_HELD", deleted.downgrade());
    expect([deleted.isHeld(), deleted.signal.aborted]).toEqual([false, true]);
    expect(await line(backend)).toEqual([]);
  });
}

/** Holders and waiters that die, and keys that vanish. */
export function rwLockLoss(suite: Suite): void {
  suite.it("lets a writer in at the end of a dead reader's lease, not before", async (backend, scene) => {
    const victim = await startMortal(scene);
    const reading = await victim.conclave.rwLock("a").read();
    const staying = await (await start(scene)).conclave.rwLock("a").read();
    const writer = await join(backend, scene, await start(scene), "write");
    await scene.kill(victim.backend);
    await within(backend, deathMs(scene), aborted(backend, reading.signal));
    await staysOpen(backend, scene, writer.granted);
    await staying.release();
    await within(backend, deathMs(scene), writer.granted);
    expect(reading.isHeld()).toBe(false);
  });

  suite.it("lets readers in at the end of a dead writer's lease, also of one that waited", async (backend, scene) => {
    const [holder, waiter] = [await startMortal(scene), await startMortal(scene)];
    const dead = await holder.conclave.rwLock("a").write();
    const alsoDead = await join(backend, scene, waiter, "write");
    const reader = await join(backend, scene, await start(scene), "read");
    await scene.kill(waiter.backend);
    await scene.kill(holder.backend);
    await within(backend, 2 * deathMs(scene), reader.granted);
    expect(dead.signal.reason).toMatchObject({ code: "LEASE_LOST" });
    await failsWith("LEASE_LOST", within(backend, deathMs(scene), alsoDead.granted));
  });

  suite.it("tells a reader that its key was deleted, and lets the writer in", async (backend, scene) => {
    const reading = await (await startMortal(scene)).conclave.rwLock("a").read();
    const writer = await join(backend, scene, await start(scene), "write");
    await remove(backend.kv, reading.key);
    await within(backend, scene.patienceMs, writer.granted);
    await within(backend, noticeMs(scene), aborted(backend, reading.signal));
    await reading.release();
    expect(await line(backend)).toEqual([writer.key]);
  });

  suite.it("rejects a reader whose place an operator deletes while it waits", async (backend, scene) => {
    const hold = await (await start(scene)).conclave.rwLock("a").write();
    const reader = await join(backend, scene, await start(scene), "read");
    await remove(backend.kv, reader.key);
    await failsWith("LEASE_LOST", within(backend, scene.patienceMs, reader.granted));
    expect(hold.isHeld()).toBe(true);
  });

  suite.it("loses no downgrade to an outage of who waits for it", async (backend, scene) => {
    const hold = await (await start(scene)).conclave.rwLock("a").write();
    const process = await startLinked(scene, { ttlMs: Math.min(100 * scene.timing.ttlMs, backend.limits.maxTtlMs) });
    const reader = await join(backend, scene, process, "read");
    process.link.cut();
    await hold.downgrade();
    await staysOpen(backend, scene, reader.granted);
    process.link.mend();
    await within(backend, scene.patienceMs + 2_000, reader.granted);
  });
}

/** What a lock with readers and writers costs, and whom it wakes. */
export function rwLockRoundTrips(suite: Suite): void {
  suite.it("takes one commit to have it, to downgrade, to release, and to try", async (_backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const lock = conclave.rwLock("a");
    const one = { commit: 1 };
    const [reading, reader] = await cost(counted, () => lock.read());
    expect(reading).toEqual(one);
    expect((await cost(counted, () => lock.tryWrite()))[0]).toEqual(one);
    expect((await cost(counted, () => reader.release()))[0]).toEqual(one);
    const [writing, writer] = await cost(counted, () => lock.write());
    expect(writing).toEqual(one);
    expect((await cost(counted, () => lock.tryRead()))[0]).toEqual(one);
    expect((await cost(counted, () => writer.downgrade()))[0]).toEqual(one);
    const [trying, tried] = await cost(counted, () => lock.tryRead());
    expect([trying, tried?.isHeld()]).toEqual([{ commit: 2 }, true]);
    expect((await cost(counted, () => lock.queue()))[0]).toEqual({ list: 1 });
  });

  suite.it("wakes one writer when the last of those who read leaves, and no other", async (backend, scene) => {
    const readers = await Promise.all(numbered(3).map(async () => (await start(scene)).conclave.rwLock("a").read()));
    const processes = await Promise.all(numbered(5).map(() => startCounted(scene)));
    const waiters = [];
    for (const process of processes) waiters.push(await join(backend, scene, process, "write"));
    const late = await startCounted(scene);
    await join(backend, scene, late, "read");
    await settled(backend, scene, [...processes, late]);
    for (const { counted } of [...processes, late]) counted.reset();
    await Promise.all(readers.map((reader) => reader.release()));
    await within(backend, scene.patienceMs, waiters[0]?.granted as Promise<unknown>);
    await quiet(backend, scene);
    const woken = [...processes, late].map(({ counted }) => counted.snapshot());
    expect(woken[0]?.commit).toBeGreaterThan(0);
    expect(woken.slice(1)).toEqual(Array.from({ length: 5 }, () => ({})));
  });

  suite.it("takes one commit of each reader to enter when a writer leaves or downgrades", async (backend, scene) => {
    for (const way of ["release", "downgrade"] as const) {
      const hold = await (await start(scene)).conclave.rwLock("a").write();
      const processes = await Promise.all(numbered(4).map(() => startCounted(scene)));
      const readers: Waiter[] = [];
      for (const process of processes) readers.push(await join(backend, scene, process, "read"));
      await settled(backend, scene, processes);
      for (const { counted } of processes) counted.reset();
      await hold[way]();
      const holds = await within(backend, scene.patienceMs, Promise.all(readers.map(({ granted }) => granted)));
      expect(processes.map(({ counted }) => counted.snapshot())).toEqual(Array(4).fill({ commit: 1 }));
      await Promise.all([...holds, hold].map((one) => one.release()));
    }
  });
}

/** Readers and writers, on a store whose answers are late, lost or refusals. */
export function rwLockUnderJitter(suite: Suite): void {
  suite.it("never has a writer beside anybody, lets everybody in, and leaves no key", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    let together = 0;
    for (const seed of seeds(scene)) {
      const room = new ReadingRoom();
      const contend = async (process: Process, index: number) => {
        const random = seededRandom(100 * seed + index);
        const lock = process.conclave.rwLock("a");
        const linger = () => sleep(backend.clock, (random() * scene.timing.ttlMs) / 40);
        for (let round = 0; round < 4; round++) {
          if (random() < 0.6) {
            const hold = await insist(() => lock.read());
            if (hold.isHeld()) room.enter(hold, () => "read");
            await linger();
            await hold.release();
          } else {
            const hold = await insist(() => lock.write());
            if (hold.isHeld()) room.enter(hold, () => hold.mode);
            await linger();
            if (round % 2 === 0 && hold.isHeld()) await hold.downgrade().catch(() => {});
            await linger();
            await hold.release();
          }
        }
      };
      const processes = await trouble.startMany(seed, 5);
      await within(backend, troubledMs(scene), Promise.all(processes.map(contend)));
      await scene.eventually(backend, async () => expect(await line(backend), `seed ${seed}`).toEqual([]));
      expect(room.visits, `visits with seed ${seed}`).toBeGreaterThan(0);
      together = Math.max(together, room.most);
      await closeAll(processes);
    }
    expect(together, "some read together").toBeGreaterThan(1);
    trouble.expectAtLeast(1, ...everyFault);
  });

  suite.it("loses no turn, however late calls and watches are", async (backend, scene) => {
    const trouble = new Trouble(scene, { faults: 0, gaps: 0.1 });
    for (const seed of seeds(scene)) {
      const room = new ReadingRoom();
      const turn = async (process: Process, mode: LockMode) => {
        const hold = await process.conclave.rwLock("a")[mode]();
        room.enter(hold, () => mode);
        await hold.release();
      };
      const processes = await trouble.startMany(seed, 4, { ttlMs: 20 * scene.timing.ttlMs });
      const turns = processes.flatMap((process) => [turn(process, "read"), turn(process, "write")]);
      await within(backend, 4 * scene.patienceMs, Promise.all(turns));
      expect(room.visits, `visits with seed ${seed}`).toBe(8);
      await closeAll(processes);
    }
    trouble.expectAtLeast(1, "delays", "lateBatches");
  });
}
