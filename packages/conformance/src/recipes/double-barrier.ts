import type { DoubleBarrier, DoubleBarrierOptions, Passage } from "@conclave/core";
import { CoordinationError, isCoordinationError, seededRandom, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { keysOf, remove } from "../entries.ts";
import { intercepted } from "../intercepted.ts";
import { faultSeeds } from "../seeds.ts";
import { watchesFailing } from "./failing-watches.ts";
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
import { cost, startCounted } from "./round-trips.ts";
import { closeAll, everyFault, Trouble, troubledMs } from "./under-jitter.ts";

type OnDeath = NonNullable<DoubleBarrierOptions["onDeath"]>;

const barrierOf = ({ conclave }: Process, count: number, onDeath?: OnDeath): DoubleBarrier =>
  conclave.doubleBarrier("a", { count, onDeath });

/** The keys of those in line or inside, oldest first. */
const lineOf = async ({ kv }: Process["backend"]) =>
  keysOf(await kv.list("doublebarrier/a/line/", { order: "oldest" }));

/** Waits until so many are in line or inside. */
const inLine = (backend: Process["backend"], scene: Scene, count: number) =>
  scene.eventually(backend, async () => {
    const keys = await lineOf(backend);
    expect(keys).toHaveLength(count);
    return keys;
  });

/** That nothing is left but the round, which stays. */
const onlyTheRoundIsLeft = (backend: Process["backend"], scene: Scene) =>
  scene.eventually(backend, async () =>
    expect(keysOf(await backend.kv.list("doublebarrier/"))).toEqual(["doublebarrier/a/round"]),
  );

/** Where at most one generation is inside, and complete, at any time. */
class Hall {
  readonly visits = new Map<number, number>();
  readonly #count: number;
  readonly #inside = new Set<Passage>();
  #arrived = 0;
  #entered = 0;

  constructor(count: number) {
    this.#count = count;
  }

  /** Somebody asks to enter. */
  arrive(): void {
    this.#arrived += 1;
  }

  enter(passage: Passage): void {
    this.#entered += 1;
    expect(this.#arrived, "nobody enters before all have come").toBeGreaterThanOrEqual(
      this.#count * Math.ceil(this.#entered / this.#count),
    );
    for (const other of this.#inside)
      expect(other.generation, "all inside are one generation").toBe(passage.generation);
    this.#inside.add(passage);
    this.visits.set(passage.generation, (this.visits.get(passage.generation) ?? 0) + 1);
  }

  leave(passage: Passage): void {
    this.#inside.delete(passage);
  }

  /** Leaving is over for one. */
  left(passage: Passage): void {
    for (const other of this.#inside) {
      expect(other.generation, "nobody is done with leaving while others are inside").not.toBe(passage.generation);
    }
  }
}

/** Enters and leaves so many times. */
async function cycle(barrier: DoubleBarrier, hall: Hall, rounds: number, pause: () => Promise<void>): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    hall.arrive();
    const passage = await barrier.enter();
    hall.enter(passage);
    await pause();
    hall.leave(passage);
    await passage.leave();
    hall.left(passage);
    await pause();
  }
}

/** A double barrier: who enters together leaves together. */
export function doubleBarrier(suite: Suite): void {
  suite.it("lets nobody in before all have come, and then everybody", async (backend, scene) => {
    const processes = await startMany(scene, 3);
    const [first, second, third] = processes.map((process) => barrierOf(process, 3)) as [
      DoubleBarrier,
      DoubleBarrier,
      DoubleBarrier,
    ];
    const entering = [first.enter(), second.enter()];
    await staysOpen(backend, scene, Promise.race(entering));
    entering.push(third.enter());
    const passages = await within(backend, scene.patienceMs, Promise.all(entering));
    expect(passages.map(({ generation }) => generation)).toEqual([1, 1, 1]);
    expect(new Set(passages.map(({ token }) => token)).size).toBe(1);
    expect(passages.every((passage) => passage.isHeld() && !passage.signal.aborted)).toBe(true);
  });

  suite.it("lets nobody be done with leaving before all have left", async (backend, scene) => {
    const processes = await startMany(scene, 3);
    const passages = await Promise.all(processes.map((process) => barrierOf(process, 3).enter()));
    const leaving = passages.slice(0, 2).map((passage) => passage.leave());
    await staysOpen(backend, scene, Promise.race(leaving));
    expect(passages.map((passage) => passage.isHeld())).toEqual([false, false, true]);
    leaving.push((passages[2] as Passage).leave());
    await within(backend, scene.patienceMs, Promise.all(leaving));
    await onlyTheRoundIsLeft(backend, scene);
    for (const passage of passages) await passage.leave();
  });

  for (const onDeath of ["break", "shrink"] as const) {
    suite.it(`is used again and again, if death were to ${onDeath} it`, async (backend, scene) => {
      const processes = await startMany(scene, 3);
      const hall = new Hall(3);
      const pause = () => sleep(backend.clock, (backend.clock.random() * scene.timing.ttlMs) / 100);
      const cycles = processes.map((process) => cycle(barrierOf(process, 3, onDeath), hall, 20, pause));
      // Of each cycle an enter, a pause and a leave.
      await within(backend, 20 * 3 * scene.patienceMs, Promise.all(cycles));
      expect([...hall.visits]).toEqual(Array.from({ length: 20 }, (_, index) => [index + 1, 3]));
      await onlyTheRoundIsLeft(backend, scene);
    });
  }

  suite.it("gives a token that grows with every generation", async (_backend, scene) => {
    const barrier = barrierOf(await start(scene), 1);
    const tokens: bigint[] = [];
    for (let round = 0; round < 3; round++) tokens.push(await barrier.run(({ token }) => token));
    expect(tokens).toEqual(tokens.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(tokens).size).toBe(3);
  });

  suite.it("lets in a member that sleeps while the fast ones have left already", async (backend, scene) => {
    const [fast, second] = await startPair(scene);
    const slow = await startLinked(scene);
    const entering = barrierOf(slow, 3).enter();
    await inLine(backend, scene, 1);
    slow.link.cut();
    const passages = await Promise.all([barrierOf(fast, 3).enter(), barrierOf(second, 3).enter()]);
    const leaving = Promise.all(passages.map((passage) => passage.leave()));
    const again = barrierOf(fast, 3).enter();
    await staysOpen(backend, scene, Promise.race([entering, leaving, again]));
    slow.link.mend();
    const passage = await within(backend, scene.patienceMs, entering);
    expect(passage.generation).toBe(1);
    await within(backend, scene.patienceMs, Promise.all([passage.leave(), leaving]));
    const others = [barrierOf(second, 3).enter(), barrierOf(slow, 3).enter()];
    for (const { generation } of await within(backend, scene.patienceMs, Promise.all([again, ...others]))) {
      expect(generation).toBe(2);
    }
  });

  suite.it("keeps who comes too late for the next generation", async (backend, scene) => {
    const processes = await startMany(scene, 4);
    const [one, two, three, four] = processes.map((process) => barrierOf(process, 2)) as [
      DoubleBarrier,
      DoubleBarrier,
      DoubleBarrier,
      DoubleBarrier,
    ];
    const inside = await within(backend, scene.patienceMs, Promise.all([one.enter(), two.enter()]));
    const late = Promise.all([three.enter(), four.enter()]);
    await staysOpen(backend, scene, late);
    const leaving = inside.map((passage) => passage.leave());
    await within(backend, scene.patienceMs, Promise.all(leaving));
    const passages = await within(backend, scene.patienceMs, late);
    expect(passages.map(({ generation }) => generation)).toEqual([2, 2]);
  });

  suite.it("breaks for those who wait when one of them dies, and is whole again", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    for (const place of ["first", "last"]) {
      const victim = await startMortal(scene);
      const entering: Promise<Passage>[] = [];
      const joins = [one, other, victim];
      if (place === "first") joins.reverse();
      for (const [index, process] of joins.entries()) {
        const passing = barrierOf(process, 4).enter();
        passing.catch(() => {});
        if (process !== victim) entering.push(passing);
        await inLine(backend, scene, index + 1);
      }
      await scene.kill(victim.backend);
      const failures = Promise.all(entering.map(rejection));
      for (const failure of await within(backend, deathMs(scene) + scene.patienceMs, failures)) {
        expect(failure, place).toMatchObject({ code: "BROKEN" });
      }
      await inLine(backend, scene, 0);
    }
    const passing = Promise.all([barrierOf(one, 2).enter(), barrierOf(other, 2).enter()]);
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("breaks for those inside when one of them dies, also for those who leave", async (backend, scene) => {
    const victim = await startMortal(scene);
    const processes = [...(await startMany(scene, 2)), victim];
    const passages = await Promise.all(processes.map((process) => barrierOf(process, 3).enter()));
    const [stays, leaves] = passages as [Passage, Passage, Passage];
    const leaving = rejection(leaves.leave());
    const lost = aborted(backend, stays.signal);
    await scene.kill(victim.backend);
    const patienceMs = deathMs(scene) + scene.patienceMs;
    expect((await within(backend, patienceMs, lost)).reason).toMatchObject({ code: "BROKEN" });
    expect(await within(backend, patienceMs, leaving)).toMatchObject({ code: "BROKEN" });
    expect(stays.isHeld()).toBe(false);
    const others = [...processes.slice(0, 2), await start(scene)];
    const next = Promise.all(others.map((process) => barrierOf(process, 3).enter()));
    await staysOpen(backend, scene, next);
    expect(await rejection(stays.leave())).toMatchObject({ code: "BROKEN" });
    await within(backend, scene.patienceMs, next);
  });

  suite.it("does not break when a member dies that had left", async (backend, scene) => {
    const victim = await startMortal(scene);
    const other = await start(scene);
    const passages = await Promise.all([barrierOf(victim, 2).enter(), barrierOf(other, 2).enter()]);
    const leaving = passages[0].leave();
    leaving.catch(() => {});
    await inLine(backend, scene, 1);
    await victim.conclave.close();
    await within(backend, scene.patienceMs, passages[1].leave());
    await onlyTheRoundIsLeft(backend, scene);
  });

  suite.it("shrinks instead, when told to, whether the one that dies waits or is inside", async (backend, scene) => {
    const victim = await startMortal(scene);
    const [one, other] = await startPair(scene);
    const ghost = barrierOf(victim, 2, "shrink").enter();
    ghost.catch(() => {});
    await inLine(backend, scene, 1);
    await scene.kill(victim.backend);
    await inLine(backend, scene, 0);
    const entering = barrierOf(one, 2, "shrink").enter();
    await staysOpen(backend, scene, entering);
    const mortal = await startMortal(scene);
    const dying = await within(backend, scene.patienceMs, barrierOf(mortal, 2, "shrink").enter());
    const passage = await within(backend, scene.patienceMs, entering);
    const leaving = passage.leave();
    await staysOpen(backend, scene, leaving);
    await scene.kill(mortal.backend);
    await within(backend, deathMs(scene) + scene.patienceMs, leaving);
    expect(dying.isHeld()).toBe(false);
    await within(backend, scene.patienceMs, Promise.all([one, other].map((p) => barrierOf(p, 2, "shrink").enter())));
  });

  for (const onDeath of ["break", "shrink"] as const) {
    suite.it(`goes on after all who were inside died, if that is to ${onDeath} it`, async (backend, scene) => {
      const victims = [await startMortal(scene), await startMortal(scene)];
      const others = await startPair(scene);
      await Promise.all(victims.map((victim) => barrierOf(victim, 2, onDeath).enter()));
      const next = Promise.all(others.map((process) => barrierOf(process, 2, onDeath).enter()));
      await staysOpen(backend, scene, next);
      for (const { conclave } of victims) await conclave.close();
      const passages = await within(backend, scene.patienceMs, next);
      expect(passages.map(({ generation }) => generation)).toEqual([2, 2]);
    });

    suite.it(
      `frees the place of who gives up, and leaves no key, if death were to ${onDeath} it`,
      async (backend, scene) => {
        const processes = await startMany(scene, 4);
        const barriers = processes.map((process) => barrierOf(process, 3, onDeath));
        const [one, two, three, four] = barriers as [DoubleBarrier, DoubleBarrier, DoubleBarrier, DoubleBarrier];
        const controller = new AbortController();
        const reason = new Error("no more");
        const first = one.enter();
        const keys = await inLine(backend, scene, 1);
        const givesUp = two.enter({ signal: controller.signal });
        await inLine(backend, scene, 2);
        controller.abort(reason);
        expect(await rejection(givesUp)).toBe(reason);
        expect(await inLine(backend, scene, 1)).toEqual(keys);
        expect(await rejection(two.enter({ signal: controller.signal }))).toBe(reason);
        const third = three.enter();
        await staysOpen(backend, scene, Promise.race([first, third]));
        const passages = await within(backend, scene.patienceMs, Promise.all([first, third, four.enter()]));
        await within(backend, scene.patienceMs, Promise.all(passages.map((passage) => passage.leave())));
        await onlyTheRoundIsLeft(backend, scene);
      },
    );

    suite.it(
      `lets the others leave without one that gave up as it was let in, if death were to ${onDeath} it`,
      async (backend, scene) => {
        const [one, other] = await startPair(scene);
        const late = await startLinked(scene);
        const controller = new AbortController();
        const givesUp = barrierOf(late, 3, onDeath).enter({ signal: controller.signal });
        await inLine(backend, scene, 1);
        late.link.cut();
        const passages = await Promise.all([one, other].map((process) => barrierOf(process, 3, onDeath).enter()));
        controller.abort(new Error("no more"));
        expect(await rejection(givesUp)).toBe(controller.signal.reason);
        const leaving = Promise.all(passages.map((passage) => passage.leave()));
        await staysOpen(backend, scene, leaving);
        late.link.mend();
        await within(backend, scene.patienceMs, leaving);
        await onlyTheRoundIsLeft(backend, scene);
      },
    );

    suite.it(
      `is one generation at a time, of all its members, whatever fails, if death were to ${onDeath} it`,
      async (backend, scene) => {
        const trouble = new Trouble(scene, { faults: 0.2, gaps: 0.1, delayMs: scene.timing.ttlMs / 100 });
        const lasting = { ttlMs: 20 * scene.timing.ttlMs };
        for (const seed of faultSeeds(Math.max(1, Math.round(200 / scene.timing.ttlMs)))) {
          const random = seededRandom(seed);
          const hall = new Hall(3);
          const processes = await trouble.startMany(seed, 3, lasting);
          const pause = () => sleep(backend.clock, (random() * scene.timing.ttlMs) / 100);
          const cycles = processes.map((process) => {
            const barrier = barrierOf(process, 3, onDeath);
            const insistent: Pick<DoubleBarrier, "enter"> = { enter: () => insistOn(() => barrier.enter()) };
            return cycle(insistent as DoubleBarrier, hall, 20, pause);
          });
          await within(backend, troubledMs(scene), Promise.all(cycles));
          expect([...hall.visits.values()], `seed ${seed}`).toEqual(Array(20).fill(3));
          await closeAll(processes);
          await scene.eventually(backend, async () => expect(await lineOf(backend)).toEqual([]));
        }
        trouble.expectAtLeast(1, ...everyFault);
      },
    );
  }

  suite.it("is not moved back by who was late to move it on", async (backend, scene) => {
    const [one, third] = await startPair(scene);
    let writes = Number.NEGATIVE_INFINITY;
    let proceed = () => {};
    const held = new Promise<void>((resolve) => {
      proceed = resolve;
    });
    const late = await start(scene, {}, (backend) =>
      intercepted(backend, {
        async call({ kind, mutates }, send) {
          if (kind === "commit" && mutates) writes += 1;
          // The first is that it leaves, the second that all have left.
          if (writes === 2) await held;
          return send();
        },
        watch: (watch) => watch,
      }),
    );
    const first = await Promise.all([barrierOf(one, 2).enter(), barrierOf(late, 2).enter()]);
    const leaving = first[0].leave();
    await inLine(backend, scene, 1);
    writes = 0;
    const leavingLate = first[1].leave();
    await within(backend, scene.patienceMs, leaving);
    const next = Promise.all([barrierOf(one, 2).enter(), barrierOf(third, 2).enter()]);
    const passages = await within(backend, scene.patienceMs, next);
    proceed();
    await within(backend, scene.patienceMs, leavingLate);
    expect(passages.map(({ generation }) => generation)).toEqual([2, 2]);
    await within(backend, scene.patienceMs, Promise.all(passages.map((passage) => passage.leave())));
  });

  suite.it("tells who waits, and who is inside, that the session is lost", async (backend, scene) => {
    const [waits, inside] = [await startMortal(scene), await startMortal(scene)];
    const passage = await inside.conclave.doubleBarrier("b", { count: 1 }).enter();
    const entering = rejection(barrierOf(waits, 2).enter());
    await inLine(backend, scene, 1);
    const lost = aborted(backend, passage.signal);
    await scene.kill(waits.backend);
    await scene.kill(inside.backend);
    expect(await within(backend, deathMs(scene), entering)).toMatchObject({ code: "LEASE_LOST" });
    expect((await within(backend, deathMs(scene), lost)).reason).toMatchObject({ code: "LEASE_LOST" });
    expect(passage.isHeld()).toBe(false);
    expect(await rejection(passage.leave())).toMatchObject({ code: "LEASE_LOST" });
  });

  suite.it("takes a key that was deleted by hand for a member that died", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const first = rejection(barrierOf(one, 3).enter());
    const [key] = (await inLine(backend, scene, 1)) as [string];
    const second = rejection(barrierOf(other, 3).enter());
    await inLine(backend, scene, 2);
    await remove(backend.kv, key);
    expect(await within(backend, scene.patienceMs, first)).toMatchObject({ code: "LEASE_LOST" });
    expect(await within(backend, scene.patienceMs, second)).toMatchObject({ code: "BROKEN" });
    await inLine(backend, scene, 0); // who could not enter gives its place back in its own time
    const mortal = await startMortal(scene);
    const passages = await Promise.all([barrierOf(mortal, 2).enter(), barrierOf(other, 2).enter()]);
    const lost = Promise.all(passages.map(({ signal }) => aborted(backend, signal)));
    const { lease } = await mortal.conclave.session();
    const keys = (await backend.kv.list("doublebarrier/a/line/")).entries.filter((entry) => entry.lease === lease.id);
    await remove(backend.kv, ...keys.map((entry) => entry.key));
    const reasons = (await within(backend, noticeMs(scene) + scene.patienceMs, lost)).map(({ reason }) => reason);
    expect(reasons[1]).toMatchObject({ code: "BROKEN" });
  });

  suite.it("refuses who counts otherwise than those in line, and names both", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const entering = barrierOf(one, 2).enter();
    await inLine(backend, scene, 1);
    for (const refuses of [barrierOf(other, 3), barrierOf(other, 2, "shrink")]) {
      const failure = await rejection(refuses.enter());
      expect(failure).toBeInstanceOf(RangeError);
      expect(failure).toMatchObject({
        message: expect.stringMatching(/must be 2 and "break".*not [23] and "(break|shrink)"/),
      });
    }
    await inLine(backend, scene, 1);
    await within(backend, scene.patienceMs, Promise.all([entering, barrierOf(other, 2).enter()]));
  });

  suite.it("never takes a watch that fails for an entrance, nor for an exit", async (backend, scene) => {
    const failure = new CoordinationError("DENIED", "the watch was taken away");
    const process = await start(scene, {}, (backend) => intercepted(backend, watchesFailing(failure)));
    expect(await rejection(barrierOf(process, 2, "shrink").enter())).toBe(failure);
    await inLine(backend, scene, 0);
    const other = barrierOf(await start(scene), 2, "shrink").enter();
    await inLine(backend, scene, 1);
    const passage = await barrierOf(process, 2, "shrink").enter();
    await other;
    expect(await rejection(passage.leave())).toBe(failure);
  });

  suite.it("delays who enters or leaves while the store is away, and no longer", async (backend, scene) => {
    const linked = await startLinked(scene, { ttlMs: 20 * scene.timing.ttlMs });
    const other = await start(scene);
    const entering = barrierOf(linked, 2).enter();
    await inLine(backend, scene, 1);
    linked.link.cut();
    const theirs = await barrierOf(other, 2).enter();
    await staysOpen(backend, scene, entering);
    linked.link.mend();
    const passage = await within(backend, scene.patienceMs, entering);
    linked.link.cut();
    const leaving = passage.leave();
    const theirLeaving = theirs.leave();
    await staysOpen(backend, scene, Promise.race([leaving, theirLeaving]));
    linked.link.mend();
    await within(backend, scene.patienceMs, Promise.all([leaving, theirLeaving]));
  });

  suite.it("goes on leaving by itself for who no longer waits for that", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const passages = await Promise.all([barrierOf(one, 2).enter(), barrierOf(other, 2).enter()]);
    const controller = new AbortController();
    const leaving = passages[0].leave({ signal: controller.signal });
    await inLine(backend, scene, 1);
    controller.abort(new Error("no more"));
    expect(await rejection(leaving)).toBe(controller.signal.reason);
    await within(backend, scene.patienceMs, passages[1].leave());
    await onlyTheRoundIsLeft(backend, scene);
  });

  suite.it("leaves after work that throws, and throws the same", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const failure = new Error("the work failed");
    const fails = rejection(
      barrierOf(one, 2).run(() => {
        throw failure;
      }),
    );
    expect(
      await within(
        backend,
        scene.patienceMs,
        barrierOf(other, 2).run(async () => "done"),
      ),
    ).toBe("done");
    expect(await fails).toBe(failure);
    await onlyTheRoundIsLeft(backend, scene);
  });

  suite.it("costs who completes it two commits, and one who waits three with three watches", async (backend, scene) => {
    const first = barrierOf(await start(scene), 3, "shrink").enter();
    await inLine(backend, scene, 1);
    const second = await startCounted(scene);
    const entering = barrierOf(second, 3, "shrink").enter();
    await scene.eventually(backend, () => expect(second.counted.snapshot()).toEqual({ commit: 2, watch: 3 }));
    const third = await startCounted(scene);
    const completing = barrierOf(third, 3, "shrink");
    const [completed, last] = await cost(third.counted, () => completing.enter());
    expect(completed).toEqual({ commit: 2 });
    const passages = await within(backend, scene.patienceMs, Promise.all([first, entering]));
    expect(second.counted.snapshot()).toEqual({ commit: 3, watch: 3 });
    const leaving = Promise.all(passages.map((passage) => passage.leave()));
    await inLine(backend, scene, 1);
    expect((await cost(third.counted, () => last.leave()))[0]).toEqual({ commit: 2 });
    await within(backend, scene.patienceMs, leaving);
  });

  suite.it("wakes one of many who wait when another comes, and asks nothing in between", async (backend, scene) => {
    const processes: Awaited<ReturnType<typeof startCounted>>[] = [];
    const entering: Promise<Passage>[] = [];
    for (let index = 0; index < 6; index++) {
      const process = await startCounted(scene);
      entering.push(barrierOf(process, 8, "shrink").enter());
      await scene.eventually(backend, () => expect(process.counted.snapshot()).toMatchObject({ commit: 2 }));
      await quiet(backend, scene);
      processes.push(process);
    }
    for (const { counted } of processes) counted.reset();
    entering.push(barrierOf(await start(scene), 8, "shrink").enter());
    await inLine(backend, scene, 7);
    await scene.eventually(backend, () => expect(processes[0]?.counted.snapshot()).toEqual({ commit: 1 }));
    await quiet(backend, scene);
    expect(processes.map(({ counted }) => counted.snapshot())).toEqual([{ commit: 1 }, ...Array(5).fill({})]);
    for (const { counted } of processes) counted.reset();
    entering.push(barrierOf(await start(scene), 8, "shrink").enter());
    await within(backend, scene.patienceMs, Promise.all(entering));
    expect(processes.slice(1).map(({ counted }) => counted.snapshot())).toEqual(Array(5).fill({ commit: 1 }));
  });
}

/** Enters again while it is refused, as a program would that wants to be inside. */
async function insistOn(enter: () => Promise<Passage>): Promise<Passage> {
  for (;;) {
    try {
      return await enter();
    } catch (error) {
      if (!isCoordinationError(error, "UNAVAILABLE")) throw error;
    }
  }
}
