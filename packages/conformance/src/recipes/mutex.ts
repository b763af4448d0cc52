import { type Hold, tokenOf } from "@conclave/core";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { present, remove, texts } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import {
  aborted,
  noticeMs,
  type Process,
  quiet,
  rejection,
  start,
  startMany,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";
import { startCounted } from "./round-trips.ts";

/** What a mutex does beyond excluding. */
export function mutex(suite: Suite): void {
  suite.it("gives a free lock to who only tries", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const hold = await conclave.mutex("a").tryAcquire();
    expect(hold?.isHeld()).toBe(true);
    await hold?.release();
    expect(await conclave.mutex("a").tryAcquire()).toBeDefined();
  });

  suite.it("gives nothing to who only tries a lock that is held, and writes nothing", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const hold = await one.conclave.mutex("a").acquire();
    const before = await texts(backend.kv);
    expect(await other.conclave.mutex("a").tryAcquire()).toBeUndefined();
    expect(await one.conclave.mutex("a").tryAcquire()).toBeUndefined();
    expect(await texts(backend.kv)).toEqual(before);
    expect(hold.isHeld()).toBe(true);
  });

  suite.it("gives the lock to exactly one of many who try at once", async (_backend, scene) => {
    const processes = await startMany(scene, 6);
    for (let round = 0; round < 5; round++) {
      const tries = await Promise.all(processes.map(({ conclave }) => conclave.mutex("a").tryAcquire()));
      const holds = tries.filter((hold) => hold !== undefined);
      expect(holds).toHaveLength(1);
      await holds[0]?.release();
    }
  });

  suite.it("excludes who waits and who only tries from each other", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const tried = await one.conclave.mutex("a").tryAcquire();
    const waiting = other.conclave.mutex("a").acquire();
    await staysOpen(backend, scene, waiting);
    await tried?.release();
    const hold = await within(backend, scene.patienceMs, waiting);
    expect(hold.token).toBeGreaterThan(tried?.token as bigint);
  });

  suite.it("tries nothing for a signal that has aborted already", async (backend, scene) => {
    const { conclave } = await start(scene);
    await conclave.session();
    const reason = new Error("too late");
    expect(await rejection(conclave.mutex("a").tryAcquire({ signal: AbortSignal.abort(reason) }))).toBe(reason);
    await quiet(backend, scene);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("runs work while it is held, gives what the work gave, and releases", async (backend, scene) => {
    const { conclave } = await start(scene);
    const result = await conclave.mutex("a").run(async (hold) => {
      expect(hold.isHeld()).toBe(true);
      expect(await backend.kv.get(hold.key)).toBeDefined();
      return "done";
    });
    expect(result).toBe("done");
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("releases after work that throws, and throws the same", async (backend, scene) => {
    const { conclave } = await start(scene);
    const failure = new Error("the work failed");
    const fail = () => {
      throw failure;
    };
    expect(await rejection(conclave.mutex("a").run(fail))).toBe(failure);
    expect(await rejection(conclave.mutex("a").run(async () => fail()))).toBe(failure);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it(
    "aborts the work's signal when the run's aborts, and holds on until the work ends",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      const controller = new AbortController();
      const reason = new Error("stop");
      let end: (result: string) => void = () => {};
      const working = new Promise<AbortSignal>((started) => {
        const result = one.conclave.mutex("a").run(
          ({ signal }) => {
            started(signal);
            return new Promise<string>((resolve) => {
              end = resolve;
            });
          },
          { signal: controller.signal },
        );
        result.then((value) => expect(value).toBe("ended"));
      });
      const signal = await working;
      expect(signal.aborted).toBe(false);
      controller.abort(reason);
      expect((await aborted(backend, signal)).reason).toBe(reason);
      const waiting = other.conclave.mutex("a").acquire();
      await staysOpen(backend, scene, waiting);
      end("ended");
      await within(backend, scene.patienceMs, waiting);
    },
  );

  suite.it("never starts the work of a run that is cancelled while it waits", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const hold = await one.conclave.mutex("a").acquire();
    const controller = new AbortController();
    let started = false;
    const work = () => {
      started = true;
    };
    const run = other.conclave.mutex("a").run(work, { signal: controller.signal });
    await staysOpen(backend, scene, run);
    controller.abort(new Error("stop"));
    expect(await rejection(run)).toBe(controller.signal.reason);
    await hold.release();
    await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
    expect(started).toBe(false);
  });

  suite.it("aborts the work's signal when the lock is lost", async (backend, scene) => {
    const victim = await startMortal(scene);
    const lost = victim.conclave.mutex("a").run(async (hold) => {
      await scene.kill(victim.backend);
      const { reason } = await aborted(backend, hold.signal);
      expect(hold.isHeld()).toBe(false);
      return reason;
    });
    expect(await lost).toMatchObject({ code: "LEASE_LOST" });
  });

  suite.it("shows who holds it and who waits, in order, by the names their owners go by", async (backend, scene) => {
    const owners = ["first", "second", "third"];
    const processes = await Promise.all(owners.map((owner) => start(scene, { owner })));
    const queueNow = () => (processes[2] as Process).conclave.mutex("a").queue();
    expect(await queueNow()).toEqual([]);
    for (const [index, { conclave }] of processes.entries()) {
      conclave
        .mutex("a")
        .acquire()
        .catch(() => {});
      await scene.eventually(backend, async () => expect(await queueNow()).toHaveLength(index + 1));
    }
    const queue = await queueNow();
    expect(queue.map(({ owner }) => owner)).toEqual(owners);
    for (const { key, token } of queue) expect(tokenOf((await present(backend.kv, key)).created)).toBe(token);
    const tokens = queue.map(({ token }) => token);
    expect(tokens).toEqual([...tokens].sort((a, b) => (a < b ? -1 : 1)));
    for (const [index, { conclave }] of processes.entries()) {
      expect(queue[index]?.lease).toBe((await conclave.session()).lease.id);
    }
  });

  suite.it("gives one more hold of what is held, at once, to who says so", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const mutex = conclave.mutex("a");
    const hold = await mutex.acquire();
    counted.reset();
    const again = await mutex.acquire({ reenter: hold });
    const tried = (await mutex.tryAcquire({ reenter: again })) as Hold;
    await conclave.mutex("a").run((inner) => expect(inner.token).toBe(hold.token), { reenter: hold });
    for (const one of [again, tried]) expect([one.token, one.key, one.isHeld()]).toEqual([hold.token, hold.key, true]);
    const other = (await start(scene)).conclave.mutex("a").acquire();
    await hold.release();
    await tried.release();
    // Released twice, it counts once.
    await tried.release();
    expect(counted.snapshot()).toEqual({});
    expect([hold, again, tried].map((one) => one.isHeld())).toEqual([false, true, false]);
    await staysOpen(backend, scene, other);
    await again.release();
    expect((await within(backend, scene.patienceMs, other)).token).toBeGreaterThan(hold.token);
  });

  suite.it("makes who asks again without saying so wait for itself", async (backend, scene) => {
    const { conclave } = await start(scene);
    const hold = await conclave.mutex("a").acquire();
    const again = conclave.mutex("a").acquire();
    await staysOpen(backend, scene, again);
    await hold.release();
    expect((await within(backend, scene.patienceMs, again)).token).toBeGreaterThan(hold.token);
  });

  suite.it("gives no more holds of what was released or lost, and tells all of a loss", async (backend, scene) => {
    const { conclave } = await startMortal(scene);
    const mutex = conclave.mutex("a");
    const hold = await mutex.acquire();
    const again = await mutex.acquire({ reenter: hold });
    await hold.release();
    await failsWith("NOT_HELD", mutex.acquire({ reenter: hold }));
    await remove(backend.kv, again.key);
    const last = await mutex.acquire({ reenter: again });
    for (const { signal } of [again, last]) {
      const { reason } = await within(backend, noticeMs(scene), aborted(backend, signal));
      expect(reason).toMatchObject({ code: "LEASE_LOST" });
    }
    for (const reenter of [again, last]) await failsWith("NOT_HELD", mutex.tryAcquire({ reenter }));
    expect(hold.signal.aborted, "released is not lost").toBe(false);
  });

  suite.it("takes a hold for reentry from this mutex of this process alone", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const hold = await one.conclave.mutex("a").acquire();
    const leadership = await one.conclave.election("a").campaign();
    for (const reenter of [leadership, await one.conclave.mutexes(["b"]).acquire()])
      await expect(one.conclave.mutex("a").acquire({ reenter })).rejects.toThrow(
        /reenter must be a hold of this mutex/,
      );
    await expect(one.conclave.mutex("c").acquire({ reenter: hold })).rejects.toBeInstanceOf(TypeError);
    await expect(other.conclave.mutex("a").acquire({ reenter: hold })).rejects.toBeInstanceOf(TypeError);
  });

  suite.it("hands a lock that was entered twice to the next caller when both holds are released", async (_b, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const mutex = conclave.mutex("a");
    const hold = await mutex.acquire();
    const again = await mutex.acquire({ reenter: hold });
    const next = mutex.acquire();
    counted.reset();
    await again.release();
    expect(await mutex.tryAcquire()).toBeUndefined();
    await hold.release();
    expect((await next).token).toBe(hold.token + 1n);
    expect(counted.snapshot()).toEqual({});
  });

  suite.it("is released at the end of the block that holds it by `await using`", async (backend, scene) => {
    const { conclave } = await start(scene);
    {
      await using hold = await conclave.mutex("a").acquire();
      expect(hold.isHeld()).toBe(true);
    }
    expect(await texts(backend.kv)).toEqual({});
  });
}
