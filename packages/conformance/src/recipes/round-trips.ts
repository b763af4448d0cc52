import type { Conclave } from "@conclave/core";
import { type Backend, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { type CountingBackend, counting, type RoundTrips } from "../counting.ts";
import { numbered } from "../entries.ts";
import { Contest, type Exclusive } from "./exclusive.ts";
import { type Process, type ProcessOptions, quiet, start, within } from "./process.ts";

/** A process whose round trips are counted, with its session open and nothing counted yet; `seen` is as `start` has it. */
export async function startCounted(
  scene: Scene,
  options?: ProcessOptions,
  seen: (backend: Backend) => Backend = (backend) => backend,
): Promise<Process & { counted: CountingBackend }> {
  const counts: CountingBackend[] = [];
  const process = await start(scene, options, (backend) => {
    const counted = counting(seen(backend));
    counts.push(counted);
    return counted;
  });
  await process.conclave.session();
  const [counted] = counts as [CountingBackend];
  counted.reset();
  return { ...process, counted };
}

/** What an action costs, and what it gives. */
export async function cost<T>(counted: CountingBackend, action: () => Promise<T>): Promise<[RoundTrips, T]> {
  counted.reset();
  const result = await action();
  return [counted.snapshot(), result];
}

/** Waits until those who wait, as many in each of these processes, have looked twice, and have nothing to do but wait. */
export async function settled(
  backend: Backend,
  scene: Scene,
  processes: readonly { readonly counted: CountingBackend }[],
  waiters: number = processes.length,
): Promise<void> {
  await scene.eventually(backend, () => {
    const looked = processes.map(({ counted }) => counted.snapshot().commit ?? 0);
    expect(Math.min(...looked)).toBeGreaterThanOrEqual((2 * waiters) / processes.length);
  });
  await quiet(backend, scene);
}

/** What is exclusive costs no more round trips than its algorithm needs. */
export function exclusionRoundTrips(suite: Suite, exclusive: Exclusive): void {
  suite.it("takes one commit to have what is free, and one to release it", async (_backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    await (await exclusive.acquire(conclave, "a")).release();
    const [taking, grant] = await cost(counted, () => exclusive.acquire(conclave, "a"));
    expect(taking).toEqual({ commit: 1 });
    const [releasing] = await cost(counted, () => grant.release());
    expect(releasing).toEqual({ commit: 1 });
    expect((await cost(counted, () => grant.release()))[0]).toEqual({});
  });

  suite.it("takes a place, and looks twice, to wait for one holder", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const process = await startCounted(scene);
    const waiter = await contest.join(process);
    await quiet(backend, scene);
    await holder.release();
    await within(backend, scene.patienceMs, waiter.granted);
    expect(process.counted.snapshot()).toEqual(contest.costs.waiting);
  });

  suite.it("asks nothing while it waits", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    await contest.acquire(await start(scene));
    const process = await startCounted(scene);
    await contest.join(process);
    await quiet(backend, scene);
    process.counted.reset();
    await sleep(backend.clock, scene.timing.ttlMs / 2);
    expect(process.counted.snapshot()).toEqual({});
  });

  suite.it("wakes one of ten who wait when it is released, and nobody but who is next then", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const holder = await contest.acquire(await start(scene));
    const processes = await Promise.all(numbered(10).map(() => startCounted(scene)));
    const waiters = [];
    for (const process of processes) waiters.push(await contest.join(process));
    await settled(backend, scene, processes);
    for (const { counted } of processes) counted.reset();
    await holder.release();
    await within(backend, scene.patienceMs, waiters[0]?.granted as Promise<unknown>);
    await quiet(backend, scene);
    const { woken } = contest.costs;
    const idle = Array.from({ length: 10 - woken.length }, () => ({}));
    expect(processes.map(({ counted }) => counted.snapshot())).toEqual([...woken, ...idle]);
  });

  suite.it("wakes only the one behind when one of ten who wait gives up", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    await contest.acquire(await start(scene));
    const processes = await Promise.all(numbered(10).map(() => startCounted(scene)));
    const waiters = [];
    for (const process of processes) waiters.push(await contest.join(process));
    await settled(backend, scene, processes);
    for (const { counted } of processes) counted.reset();
    waiters[4]?.cancel(new Error("no more"));
    await scene.eventually(backend, async () => expect(await contest.keys()).toHaveLength(10));
    await quiet(backend, scene);
    const woken = processes.flatMap(({ counted }, index) =>
      Object.keys(counted.snapshot()).length > 0 ? [index] : [],
    );
    expect(contest.costs.firstHearsAll ? woken.filter((index) => index > 0) : woken).toEqual([4, 5]);
    expect(processes[5]?.counted.snapshot()).toEqual({ commit: 2, watch: 2 });
  });
}

/** The other recipes cost no more round trips than their algorithms need. */
export function recipeRoundTrips(suite: Suite): void {
  const sentence = (
    what: string,
    wanted: RoundTrips,
    prepare: (conclave: Conclave) => Promise<() => Promise<unknown>>,
  ) =>
    suite.it(what, async (_backend, scene) => {
      const { conclave, counted } = await startCounted(scene);
      const action = await prepare(conclave);
      expect((await cost(counted, action))[0]).toEqual(wanted);
    });

  sentence("takes one commit to try a lock that is free", { commit: 1 }, async (conclave) => {
    return () => conclave.mutex("a").tryAcquire();
  });
  sentence("asks nothing of the store to try a lock that the process itself holds", {}, async (conclave) => {
    await conclave.mutex("a").acquire();
    return () => conclave.mutex("a").tryAcquire();
  });
  sentence("takes one list to show a lock's queue", { list: 1 }, async (conclave) => {
    return () => conclave.mutex("a").queue();
  });
  sentence("takes one commit to proclaim", { commit: 1 }, async (conclave) => {
    const leadership = await conclave.election("a").campaign();
    return () => leadership.proclaim("after");
  });
  sentence("takes one list to name the leader", { list: 1 }, async (conclave) => {
    return () => conclave.election("a").leader();
  });
  sentence("takes one commit to register an instance", { commit: 1 }, async (conclave) => {
    return () => conclave.service("a").register({ address: "x:1" });
  });
  sentence("takes one commit to change what an instance says", { commit: 1 }, async (conclave) => {
    const instance = await conclave.service("a").register({ address: "x:1" });
    return () => instance.update({ address: "x:2" });
  });
  sentence("takes one watch and one list to open a view of a service", { watch: 1, list: 1 }, async (conclave) => {
    await conclave.service("a").register({ address: "x:1" });
    return () => conclave.service("a").instances();
  });

  suite.it("takes one commit to try a lock that another process holds", async (_backend, scene) => {
    await (await start(scene)).conclave.mutex("a").acquire();
    const { conclave, counted } = await startCounted(scene);
    expect(await cost(counted, () => conclave.mutex("a").tryAcquire())).toEqual([{ commit: 1 }, undefined]);
  });

  suite.it("opens one session for many who need one at once", async (_backend, scene) => {
    const counts: CountingBackend[] = [];
    const { conclave } = await start(scene, {}, (backend) => {
      counts.push(counting(backend));
      return counts[0] as CountingBackend;
    });
    await Promise.all(numbered(10).map((name) => conclave.mutex(name).acquire()));
    expect(counts[0]?.snapshot()).toEqual({ grant: 1, commit: 10 });
  });

  suite.it("takes one keep-alive and one commit to renew all that a process holds", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene, { ttlMs: scene.timing.ttlMs });
    for (const name of numbered(20)) await conclave.mutex(name).acquire();
    counted.reset();
    await sleep(backend.clock, (await conclave.session()).lease.ttlMs);
    const { keepAlive = 0, commit = 0, ...others } = counted.snapshot();
    expect(others).toEqual({});
    expect(keepAlive).toBeGreaterThanOrEqual(2);
    expect(keepAlive).toBeLessThanOrEqual(4);
    expect(commit).toBeLessThanOrEqual(keepAlive);
    expect(commit).toBeGreaterThan(0);
  });
}
