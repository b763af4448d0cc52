import type { Conclave, Job, Json, Queue, QueueOptions } from "@conclave/core";
import { type Backend, isCoordinationError, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import { eventually, type Scene, type Suite } from "../context.ts";
import { numbered, remove, texts, write } from "../entries.ts";
import { intercepted } from "../intercepted.ts";
import { faultSeeds } from "../seeds.ts";
import {
  aborted,
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
import { startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, Trouble, troubledMs, troubledOnceMs } from "./under-jitter.ts";

const queueOf = ({ conclave }: { conclave: Conclave }, options?: QueueOptions): Queue<string> =>
  conclave.queue<string>("q", options);

/** Claims and acknowledges until nothing is due; what was delivered, in order. */
async function drain(queue: Queue<string>): Promise<string[]> {
  const values: string[] = [];
  for (;;) {
    const job = await queue.tryClaim();
    if (job === undefined) return values;
    values.push(job.value);
    await job.ack();
  }
}

/** What is under the queue's prefix. */
const stored = (backend: Backend) => texts(backend.kv, "queue/");

async function expectEmpty(backend: Backend, scene: Scene): Promise<void> {
  await scene.eventually(backend, async () => expect(await stored(backend)).toEqual({}));
}

const insist = async <T>(attempt: () => Promise<T>): Promise<T> => {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isCoordinationError(error, "UNAVAILABLE", "LEASE_LOST")) throw error;
    }
  }
};

/** At least once, to one worker at a time. */
export function queue(suite: Suite): void {
  suite.it("delivers what was enqueued to one worker, in the order in which it came", async (backend, scene) => {
    const [producer, consumer] = await startPair(scene);
    const ids: string[] = [];
    for (const value of numbered(8)) ids.push(await queueOf(producer).enqueue(value));
    expect(new Set(ids).size).toBe(8);
    expect(await drain(queueOf(consumer))).toEqual(numbered(8));
    await expectEmpty(backend, scene);
  });

  suite.it("delivers smaller priorities first, and within one in order", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave });
    for (const [value, priority] of [
      ["c", 0],
      ["e", 7],
      ["a", -3],
      ["d", 0],
      ["b", -3],
    ] as const)
      await queue.enqueue(value, { priority });
    expect(await drain(queue)).toEqual(["a", "b", "c", "d", "e"]);
  });

  suite.it("does not deliver what is delayed before its time, and then does", async (backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave });
    const delayMs = 1.5 * scene.timing.ttlMs + scene.timing.watchDelayMs;
    const at = backend.clock.wallMs();
    await queue.enqueue("later", { delayMs });
    await queue.enqueue("now");
    expect(await drain(queue)).toEqual(["now"]);
    const job = await within(backend, scene.patienceMs, queue.claim());
    expect(job.value).toBe("later");
    expect(backend.clock.wallMs() - at).toBeGreaterThanOrEqual(delayMs);
    await job.ack();
  });

  suite.it("hands an item that comes to one of those who wait for it", async (backend, scene) => {
    const processes = await startMany(scene, 3);
    const claims = processes.map((process) => queueOf(process).claim());
    await staysOpen(backend, scene, Promise.race(claims));
    const producer = await start(scene);
    await queueOf(producer).enqueue("one");
    const job = await within(backend, scene.patienceMs, Promise.race(claims));
    let held = 0;
    for (const claim of claims)
      void claim.then(
        () => (held += 1),
        () => {},
      );
    await quiet(backend, scene);
    expect(held).toBe(1);
    await job.ack();
    await queueOf(producer).enqueueAll([{ value: "two" }, { value: "three" }]);
    const jobs = await within(backend, scene.patienceMs, Promise.all(claims));
    expect(jobs.map(({ value }) => value).sort()).toEqual(["one", "three", "two"]);
  });

  suite.it("gives a job with what is known of it, and a token that grows", async (backend, scene) => {
    const { conclave } = await start(scene, { owner: "worker 1" });
    const queue = conclave.queue<Json>("q");
    const id = await queue.enqueue({ order: 42, lines: [1, null, "x"] }, { priority: 3 });
    const job = await queue.claim();
    expect(job).toMatchObject({ id, priority: 3, deliveries: 1, value: { order: 42, lines: [1, null, "x"] } });
    expect(job.isHeld()).toBe(true);
    expect(Math.abs(backend.clock.wallMs() - job.enqueuedAtMs)).toBeLessThan(scene.patienceMs);
    expect(JSON.stringify(await stored(backend))).toContain("worker 1");
    await job.release();
    const again = await within(backend, scene.patienceMs, queue.claim());
    expect(again).toMatchObject({ id, deliveries: 2 });
    expect(again.token).toBeGreaterThan(job.token);
    const write = { then: [{ put: "result", value: new Uint8Array() }] };
    expect((await conclave.kv.commit(job.guard(write))).succeeded).toBe(false);
    expect((await conclave.kv.commit(again.guard(write))).succeeded).toBe(true);
  });

  suite.it("delivers anew what is given back, after its delay, in its old place", async (backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave });
    for (const value of ["a", "b", "c"]) await queue.enqueue(value);
    const a = await queue.claim();
    const b = await queue.claim();
    await b.nack({ delayMs: scene.timing.ttlMs + scene.timing.watchDelayMs });
    await a.nack();
    await quiet(backend, scene);
    const first = await within(backend, scene.patienceMs, queue.claim());
    expect(first).toMatchObject({ value: "a", deliveries: 2 });
    await first.ack();
    expect(await drain(queue)).toEqual(["c"]);
    expect(await within(backend, scene.patienceMs, queue.claim())).toMatchObject({ value: "b", deliveries: 2 });
  });

  suite.it("gives back at the end of its block a job that was not ended", async (backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave });
    await queue.enqueue("a");
    {
      await using job = await queue.claim();
      expect(job.deliveries).toBe(1);
    }
    const again = await within(backend, scene.patienceMs, queue.claim());
    expect(again.deliveries).toBe(2);
    await again.ack();
    await again.release();
    await expectEmpty(backend, scene);
  });

  suite.it("refuses to acknowledge, give back or extend twice", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave });
    await queue.enqueue("a");
    const job = await queue.claim();
    await job.ack();
    expect(job.isHeld()).toBe(false);
    expect(job.signal.aborted).toBe(false);
    for (const again of [job.ack(), job.nack(), job.extend(1_000)])
      expect(await rejection(again)).toMatchObject({ code: "NOT_HELD" });
    expect(await queue.ackAll([job])).toEqual([job]);
  });

  suite.it("delivers to another what a dead worker had, and counts it", async (backend, scene) => {
    const [victim, heir] = [await startMortal(scene), await start(scene)];
    await queueOf(heir).enqueue("a");
    const job = await queueOf(victim).claim();
    const next = queueOf(heir).claim();
    await staysOpen(backend, scene, next);
    await scene.kill(victim.backend);
    const { reason } = await aborted(backend, job.signal);
    expect(reason).toMatchObject({ code: "LEASE_LOST" });
    expect(job.isHeld()).toBe(false);
    const again = await within(backend, scene.patienceMs, next);
    expect(again).toMatchObject({ value: "a", deliveries: 2 });
    await again.ack();
    await expectEmpty(backend, scene);
  });

  suite.it("refuses the acknowledgement of a worker whose claim is another's by now", async (backend, scene) => {
    const [late, heir] = await startPair(scene);
    await queueOf(heir).enqueue("a");
    const job = await queueOf(late).claim();
    await remove(backend.kv, job.key);
    const again = await within(backend, scene.patienceMs, queueOf(heir).claim());
    for (const end of [() => job.ack(), () => job.nack()]) {
      expect(await rejection(end())).toMatchObject({ code: "NOT_HELD" });
    }
    await aborted(backend, job.signal);
    await job.release();
    expect(again.isHeld()).toBe(true);
    expect(Object.keys(await stored(backend))).toContain(again.key);
    await again.ack();
    await expectEmpty(backend, scene);
  });

  suite.it(
    "makes a dead letter of what was given back too often, and delivers it anew when told",
    async (backend, scene) => {
      const { conclave } = await start(scene);
      const queue = queueOf({ conclave }, { maxDeliveries: 3 });
      const id = await queue.enqueue("bad", { priority: 2 });
      await queue.enqueue("good", { priority: 9 });
      for (const deliveries of [1, 2, 3]) {
        const job = await within(backend, scene.patienceMs, queue.claim());
        expect(job).toMatchObject({ id, deliveries });
        expect(await queue.counts()).toEqual({ waiting: 1, claimed: 1, dead: 0 });
        await job.nack({ reason: `failed ${deliveries}` });
        await quiet(backend, scene);
      }
      // By the last nack itself, before any consumer looks.
      expect(await queue.counts()).toEqual({ waiting: 1, claimed: 0, dead: 1 });
      expect(await drain(queue)).toEqual(["good"]);
      const [letter, ...others] = await queue.deadLetters();
      expect(others).toEqual([]);
      expect(letter).toMatchObject({ id, value: "bad", reason: "failed 3", deliveries: 3, priority: 2 });
      expect(await queue.counts()).toEqual({ waiting: 0, claimed: 0, dead: 1 });
      expect(await queue.redrive()).toBe(1);
      expect(await queue.redrive([id])).toBe(0);
      const job = await within(backend, scene.patienceMs, queue.claim());
      expect(job).toMatchObject({ id, value: "bad", deliveries: 1, priority: 2 });
      await job.ack();
      await expectEmpty(backend, scene);
    },
  );

  suite.it("makes a dead letter of what its workers died of", async (backend, scene) => {
    const heir = await start(scene);
    const queue = queueOf(heir, { maxDeliveries: 1 });
    const id = await queue.enqueue("deadly");
    const victim = await startMortal(scene);
    await queueOf(victim, { maxDeliveries: 1 }).claim();
    const waiting = queue.claim();
    waiting.catch(() => {});
    await scene.kill(victim.backend);
    await scene.eventually(backend, async () => expect(await queue.counts()).toMatchObject({ waiting: 0, dead: 1 }));
    expect(await queue.deadLetters()).toMatchObject([{ id, value: "deadly", deliveries: 1 }]);
    expect(await queue.discardDead([id, id])).toBe(1);
    expect(await queue.discardDead([id])).toBe(0);
    await expectEmpty(backend, scene);
  });

  suite.it("makes a dead letter of what cannot be read, and goes on", async (backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave });
    const [none, bad, junk] = await queue.enqueueAll([{ value: "a" }, { value: "b" }, { value: "c" }]);
    await queue.enqueue("fine");
    await remove(backend.kv, `queue/q/data/${none}`);
    await write(backend.kv, { [`queue/q/data/${bad}`]: "{", [`queue/q/index/item/${junk}`]: "[]" });
    expect(await drain(queue)).toEqual(["fine"]);
    const letters = await queue.deadLetters();
    expect(letters.map(({ id }) => id).sort()).toEqual([none, bad, junk].sort());
    const value = (id: string | undefined) => letters.find((letter) => letter.id === id)?.value;
    expect([value(none), value(bad), value(junk)]).toEqual([undefined, undefined, "c"]);
  });

  suite.it("enqueues, claims and acknowledges many at once, in order", async (backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave });
    await queue.enqueueAll(numbered(49).map((value) => ({ value })));
    const first = await queue.claimAll({ atMost: 20 });
    const second = await queue.claimAll({ atMost: 33 });
    expect([...first, ...second].map(({ value }) => value)).toEqual(numbered(49));
    await remove(backend.kv, first[7]?.key as string);
    expect(await queue.ackAll([...first, ...second])).toEqual([first[7]]);
    const again = await within(backend, scene.patienceMs, queue.claim());
    expect(again.id).toBe(first[7]?.id);
    await again.ack();
    await expectEmpty(backend, scene);
  });

  suite.it("takes the others of several when somebody else was faster with one", async (backend, scene) => {
    let meanwhile: (() => Promise<unknown>) | undefined;
    const process = await start(scene, {}, (seen) =>
      intercepted(seen, {
        async call({ kind, mutates }, send) {
          const act = kind === "commit" && mutates ? meanwhile : undefined;
          if (act) meanwhile = undefined;
          await act?.();
          return send();
        },
        watch: (watch) => watch,
      }),
    );
    const [own, other] = [queueOf(process), queueOf(await start(scene))];
    await process.conclave.session();
    for (const queue of [own, other]) expect(await queue.tryClaim()).toBeUndefined();
    await other.enqueueAll(["a", "b", "c"].map((value) => ({ value })));
    await quiet(backend, scene);
    meanwhile = () => other.claim();
    const seen: string[] = [];
    while (seen.length < 2) {
      const jobs = await within(backend, scene.patienceMs, own.claimAll({ atMost: 3 }));
      seen.push(...jobs.map(({ value }) => value));
    }
    expect(seen.sort()).toEqual(["b", "c"]);
  });

  suite.it(
    "delivers anew what takes longer than its visibility timeout, unless it is extended",
    async (backend, scene) => {
      const [slow, next] = await startPair(scene);
      const visibilityMs = scene.timing.ttlMs / 2;
      await queueOf(slow).enqueue("a");
      const job = await queueOf(slow, { visibilityMs }).claim();
      const extendedAtMs = backend.clock.monotonicMs();
      await job.extend(2 * visibilityMs);
      const { reason, atMs } = await aborted(backend, job.signal);
      expect(reason).toMatchObject({ code: "LEASE_LOST" });
      expect(atMs - extendedAtMs).toBeGreaterThanOrEqual(1.9 * visibilityMs);
      expect(job.isHeld()).toBe(false);
      expect(await rejection(job.ack())).toMatchObject({ code: "NOT_HELD" });
      expect(await within(backend, scene.patienceMs, queueOf(next).claim())).toMatchObject({ deliveries: 2 });
    },
  );

  suite.it(
    "takes away the overdue claim of a worker that stands still but keeps its session",
    async (backend, scene) => {
      const [stuck, next] = [await startLinked(scene), await start(scene)];
      await queueOf(next).enqueue("a");
      const job = await queueOf(stuck).claim();
      const claim = JSON.parse((await stored(backend))[job.key] as string) as { untilMs?: number };
      claim.untilMs = backend.clock.wallMs() - 1_000;
      // As if it had been claimed long ago, by a process that does nothing but renew its lease.
      await stuck.conclave.kv.commit({
        then: [
          {
            put: job.key,
            value: new TextEncoder().encode(JSON.stringify(claim)),
            lease: (await stuck.conclave.session()).lease,
          },
        ],
      });
      const again = await within(backend, scene.patienceMs, queueOf(next).claim());
      expect(again.deliveries).toBe(2);
      expect(await rejection(job.ack())).toMatchObject({ code: "NOT_HELD" });
      await again.ack();
    },
  );

  suite.it(
    "never holds more than its maximum length, and lets in who waits when there is room",
    async (backend, scene) => {
      const processes = await startMany(scene, 3);
      const consumer = queueOf(await start(scene));
      const bounded = processes.map((process) => queueOf(process, { maxLength: 4 }));
      const enqueued = bounded.flatMap((queue, at) => numbered(4).map((value) => queue.enqueue(`${at}/${value}`)));
      const all = Promise.all(enqueued);
      const seen: string[] = [];
      while (seen.length < 12) {
        const { waiting, claimed } = await consumer.counts();
        expect(waiting + claimed).toBeLessThanOrEqual(4);
        const job = await within(backend, scene.patienceMs, consumer.claim());
        seen.push(job.value);
        await job.ack();
      }
      await within(backend, scene.patienceMs, all);
      expect(new Set(seen).size).toBe(12);
      await expectEmpty(backend, scene);
    },
  );

  suite.it("leaves nothing of who gives up waiting for room, and lets in batches whole", async (backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave }, { maxLength: 3 });
    await queue.enqueueAll([{ value: "a" }, { value: "b" }]);
    const controller = new AbortController();
    const waiting = queue.enqueueAll([{ value: "c" }, { value: "d" }], { signal: controller.signal });
    await staysOpen(backend, scene, waiting);
    controller.abort(new Error("no patience"));
    expect(await rejection(waiting)).toBe(controller.signal.reason);
    expect(await queue.counts()).toEqual({ waiting: 2, claimed: 0, dead: 0 });
    const patient = queue.enqueueAll([{ value: "e" }, { value: "f" }]);
    await (await queue.claim()).ack();
    await within(backend, scene.patienceMs, patient);
    expect((await drain(queue)).sort()).toEqual(["b", "e", "f"]);
  });

  suite.it("finds room again where somebody removed an item by hand", async (backend, scene) => {
    const { conclave } = await start(scene);
    const queue = queueOf({ conclave }, { maxLength: 1 });
    const id = await queue.enqueue("a");
    const waiting = queue.enqueue("b");
    await staysOpen(backend, scene, waiting);
    await remove(backend.kv, `queue/q/index/item/${id}`, `queue/q/data/${id}`);
    await within(backend, scene.patienceMs, waiting);
    expect(await drain(queue)).toEqual(["b"]);
    await expectEmpty(backend, scene);
  });

  suite.it("leaves nothing of who gives up waiting for a job", async (backend, scene) => {
    const { conclave } = await start(scene);
    const controller = new AbortController();
    const waiting = queueOf({ conclave }).claim({ signal: controller.signal });
    await staysOpen(backend, scene, waiting);
    controller.abort(new Error("no patience"));
    expect(await rejection(waiting)).toBe(controller.signal.reason);
    await queueOf({ conclave }).enqueue("a");
    await quiet(backend, scene);
    expect(await queueOf({ conclave }).counts()).toEqual({ waiting: 1, claimed: 0, dead: 0 });
  });

  suite.it(
    "consumes with no more jobs open than it may, and gives back what is open when it is left",
    async (backend, scene) => {
      const { conclave } = await start(scene);
      const queue = queueOf({ conclave });
      await queue.enqueueAll(numbered(12).map((value) => ({ value })));
      const open = new Set<Job<string>>();
      let most = 0;
      let count = 0;
      for await (const job of queue.consume({ concurrency: 3 })) {
        open.add(job);
        most = Math.max(most, open.size);
        count += 1;
        if (count === 10) break;
        const work = async () => {
          if (most < 3) await scene.eventually(backend, () => expect(most).toBe(3));
          open.delete(job);
          await job.ack();
        };
        void work().catch(() => {});
      }
      expect(most).toBe(3);
      for (const { signal } of open) expect(signal.aborted).toBe(true);
      await scene.eventually(backend, async () => expect((await queue.counts()).claimed).toBe(0));
      expect((await queue.counts()).waiting).toBeGreaterThanOrEqual(3);
    },
  );

  suite.it("goes on consuming with its next session when one was lost", async (backend, scene) => {
    const [mortal, producer] = [await startLinked(scene), await start(scene)];
    await queueOf(producer).enqueue("a");
    const deliveries: number[] = [];
    const consuming = (async () => {
      for await (const job of queueOf(mortal).consume()) {
        deliveries.push(job.deliveries);
        if (job.deliveries === 1) {
          mortal.link.cut();
          await aborted(backend, job.signal);
          mortal.link.mend();
          continue;
        }
        await job.ack();
        return;
      }
    })();
    await within(backend, 2 * scene.patienceMs, consuming);
    expect(deliveries).toEqual([1, 2]);
    await expectEmpty(backend, scene);
  });

  suite.it("ends who waits when the conclave closes, and gives back what it held", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    await queueOf(one).enqueue("a");
    const job = await queueOf(one).claim();
    const waiting = queueOf(one).claim();
    await staysOpen(backend, scene, waiting);
    const ended = rejection(waiting);
    await one.conclave.close();
    expect(await ended).toMatchObject({ code: "CLOSED" });
    expect(job.isHeld()).toBe(false);
    expect(await within(backend, scene.patienceMs, queueOf(other).claim())).toMatchObject({ deliveries: 2 });
  });
}

/** What the queue asks of the store. */
export function queueRoundTrips(suite: Suite): void {
  suite.it("takes one commit to enqueue, to claim and to end a job", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const queue = queueOf({ conclave });
    const openedMs = backend.clock.monotonicMs();
    await (await queue.tryClaim())?.ack();
    let lists = 0;
    const costs = async (action: () => Promise<unknown>) => {
      await quiet(backend, scene);
      counted.reset();
      await action();
      const { list = 0, ...others } = counted.snapshot();
      lists += list;
      return others;
    };
    expect(await costs(() => queue.enqueue("a"))).toEqual({ commit: 1 });
    expect(await costs(() => queue.enqueueAll(numbered(20).map((value) => ({ value }))))).toEqual({ commit: 1 });
    let jobs: readonly Job<string>[] = [];
    const claim = async (atMost: number) => {
      jobs = await queue.claimAll({ atMost });
    };
    expect(await costs(() => claim(1))).toEqual({ commit: 1 });
    expect(await costs(async () => (await queue.claim()).nack())).toEqual({ commit: 2 });
    expect(await costs(async () => (jobs[0] as Job).extend(1_000))).toEqual({ commit: 1 });
    expect(await costs(async () => (jobs[0] as Job).ack())).toEqual({ commit: 1 });
    expect(await costs(() => claim(20))).toEqual({ commit: 1 });
    expect(jobs).toHaveLength(20);
    expect(await costs(() => queue.ackAll(jobs))).toEqual({ commit: 1 });
    expect(await costs(() => queue.counts())).toEqual({ commit: 1 });
    expect(await costs(() => queue.deadLetters())).toEqual({});
    const bounded = queueOf({ conclave }, { maxLength: 5 });
    expect(await costs(() => bounded.enqueue("a"))).toEqual({ commit: 1 });
    // One for the dead letters. The index asks for signs of life by others, at least 3.75 s apart, and reads everything
    // again after a gap, which some stores report now and then: twice at most while nothing is wrong, since if each of the
    // nine asked for a list that would be the sentence's end.
    const signsOfLife = Math.floor((backend.clock.monotonicMs() - openedMs) / 3_750);
    expect(lists).toBeGreaterThanOrEqual(1);
    expect(lists).toBeLessThanOrEqual(3 + signsOfLife);
  });

  suite.it("costs few commits an item, however many wait for one", async (backend, scene) => {
    const processes = await Promise.all(numbered(10).map(() => startCounted(scene)));
    const producer = await start(scene);
    const controller = new AbortController();
    let acked = 0;
    const workers = processes.map(async (process) => {
      for await (const job of queueOf(process).consume({ signal: controller.signal })) {
        await job.ack();
        acked += 1;
      }
    });
    const stopped = Promise.allSettled(workers);
    await quiet(backend, scene);
    for (const { counted } of processes) counted.reset();
    for (const value of numbered(40)) {
      await queueOf(producer).enqueue(value);
      await scene.eventually(backend, () => expect(acked).toBe(Number(value) + 1));
    }
    const commits = processes.reduce((sum, { counted }) => sum + (counted.snapshot().commit ?? 0), 0);
    // Were each item everybody's race it would be eleven an item: ten claims, of which one wins, and an acknowledgement.
    // Where those who lost hold back it was measured as 2.2 to 3.5; half a herd is too many.
    expect(commits).toBeLessThan((40 * 11) / 2);
    controller.abort();
    await stopped;
  });

  suite.it("asks nothing while it waits", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const controller = new AbortController();
    const waiting = rejection(queueOf({ conclave }).claim({ signal: controller.signal }));
    await quiet(backend, scene);
    counted.reset();
    await sleep(backend.clock, scene.timing.ttlMs / 2);
    expect(counted.snapshot()).toEqual({});
    controller.abort();
    await waiting;
  });
}

/** A queue on a store whose answers are late, lost or refusals. */
export function queueUnderJitter(suite: Suite): void {
  const seeds = ({ timing }: Scene) => faultSeeds(Math.max(3, Math.round(1_000 / timing.ttlMs)));

  suite.it(
    "delivers each item at least once, and none after it was acknowledged, whatever fails",
    async (backend, scene) => {
      const trouble = new Trouble(scene, { faults: 0.25, gaps: 0.1 });
      for (const seed of seeds(scene)) {
        const workers = await trouble.startMany(seed, 3);
        const producer = await trouble.start(100 * seed + 3);
        const name = `q${seed}`;
        const acked = new Set<string>();
        const enqueued = new Set<string>();
        const perhaps = new Set<string>();
        const wrong: string[] = [];
        const done = new AbortController();
        const work = async ({ conclave }: Process, index: number) => {
          const random = () => backend.clock.random();
          const queue = conclave.queue<string>(name, { maxDeliveries: 1_000 });
          const handle = async (job: Job<string>) => {
            if (acked.has(job.id)) wrong.push(`${job.id} was delivered after it was acknowledged`);
            if (!(job.deliveries >= 1)) wrong.push(`${job.id} was delivered ${job.deliveries} times`);
            try {
              if (random() < 0.2) await job.nack();
              else if (random() > 0.1) {
                await job.ack();
                if (acked.has(job.id)) wrong.push(`${job.id} was acknowledged twice`);
                acked.add(job.id);
              }
            } catch (error) {
              // Nobody knows whether it was acknowledged: it may be gone.
              if (isCoordinationError(error, "OUTCOME_UNKNOWN")) perhaps.add(job.id);
              else if (!isCoordinationError(error, "UNAVAILABLE", "LEASE_LOST", "NOT_HELD")) wrong.push(String(error));
            }
            await job.release();
          };
          for await (const job of queue.consume({ signal: done.signal, concurrency: 1 + index })) void handle(job);
        };
        const working = Promise.allSettled(workers.map(work));
        const queue = producer.conclave.queue<string>(name, { maxLength: 6 });
        for (let index = 0; index < 10; index++) {
          const id = await insist(() => queue.enqueue(`item ${index}`)).catch((error: unknown) => {
            if (isCoordinationError(error, "OUTCOME_UNKNOWN")) return undefined;
            throw error;
          });
          if (id !== undefined) enqueued.add(id);
        }
        const left = () => texts(backend.kv, `queue/${name}/`);
        await eventually(backend.clock, troubledMs(scene), async () => {
          expect(await left(), `seed ${seed}`).toEqual({});
          // The store knows of the last acknowledgement before its worker does.
          for (const id of enqueued) expect(acked.has(id) || perhaps.has(id), `${id} with seed ${seed}`).toBe(true);
        });
        expect(wrong, `seed ${seed}`).toEqual([]);
        done.abort(new Error("done"));
        await working;
        await closeAll([...workers, producer]);
      }
      trouble.expectAtLeast(1, ...everyFault);
    },
  );

  suite.it("leaves no claim of those who give up, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    for (const seed of seeds(scene)) {
      const processes = await trouble.startMany(seed, 3);
      const name = `q${seed}`;
      const calm = (await start(scene)).conclave.queue<string>(name, { maxDeliveries: 1_000 });
      const id = await calm.enqueue("a");
      const contend = async ({ conclave }: Process) => {
        for (let round = 0; round < 4; round++) {
          const controller = new AbortController();
          const patienceMs = (backend.clock.random() * scene.timing.ttlMs) / 10;
          using _ = backend.clock.after(patienceMs, () => controller.abort(new Error("long enough")));
          const queue = conclave.queue<string>(name, { maxDeliveries: 1_000 });
          const job = await queue.claim({ signal: controller.signal }).catch(() => undefined);
          await job?.release();
        }
      };
      await Promise.all(processes.map(contend));
      // Who gave up while a claim was on its way gives it back once the store has said what became of it.
      const job = await within(backend, troubledOnceMs(scene), calm.claim());
      expect(job.id).toBe(id);
      await job.ack();
      await scene.eventually(backend, async () => expect(await texts(backend.kv, `queue/${name}/`)).toEqual({}));
      await closeAll(processes);
    }
    trouble.expectAtLeast(1, "lostAnswers");
  });
}
