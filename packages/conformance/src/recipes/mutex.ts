import { tokenOf } from "@conclave/core";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { present, texts } from "../entries.ts";
import {
  aborted,
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

  suite.it("is released at the end of the block that holds it by `await using`", async (backend, scene) => {
    const { conclave } = await start(scene);
    {
      await using hold = await conclave.mutex("a").acquire();
      expect(hold.isHeld()).toBe(true);
    }
    expect(await texts(backend.kv)).toEqual({});
  });
}
