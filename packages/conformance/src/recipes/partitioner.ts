import type { Assignment, Partition } from "@conclave/core";
import { abortable, type Backend, isCoordinationError, sleep, type WatchBatch } from "@conclave/core/backend";
import { expect } from "vitest";
import { eventually, type Scene, type Suite } from "../context.ts";
import { numbered, remove, texts } from "../entries.ts";
import {
  deathMs,
  noticeMs,
  type Process,
  quiet,
  rejection,
  start,
  startLinked,
  startMany,
  startMortal,
  within,
} from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, insist, seeds, Trouble, troubledMs } from "./under-jitter.ts";

/** So many that each of three members has some, but for once in sixty thousand times; and one commit claims them. */
const names = numbered(30);

/** A member that works on its partitions, and stops when told to. */
class Worker implements AsyncDisposable {
  readonly #backend: Backend;
  readonly #scene: Scene;
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;
  /** Every assignment so far. */
  readonly told: Assignment[] = [];
  failure: unknown;
  /** What it has to end before it asks for the next assignment. */
  stopping: () => Promise<unknown> = async () => {};

  constructor({ backend, conclave }: Process, scene: Scene) {
    this.#backend = backend;
    this.#scene = scene;
    const { signal } = this.#stop;
    const settleMs = scene.timing.ttlMs / 20;
    this.#reading = (async () => {
      await insist(async () => {
        for await (const assignment of conclave
          .partitioner("p", { partitions: names, settleMs })
          .assigned({ signal })) {
          this.told.push(assignment);
          await abortable(this.stopping(), signal);
        }
      });
    })().catch((error: unknown) => {
      this.failure = error;
    });
    scene.use(this);
  }

  /** The partitions that it may work on now. */
  get held(): readonly Partition[] {
    return [...(this.told.at(-1)?.partitions.values() ?? [])].filter((partition) => partition.isHeld());
  }

  get owned(): readonly string[] {
    return this.held.map(({ name }) => name);
  }

  async comesTo(check: (owned: readonly string[]) => void): Promise<void> {
    await this.#scene.eventually(this.#backend, () => check(this.owned));
  }

  async end(reason: unknown = new Error("the worker ends")): Promise<void> {
    this.#stop.abort(reason);
    await this.#reading;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end();
  }
}

/** That the workers come to own every partition, each one of them. */
async function covered(backend: Backend, scene: Scene, ...workers: readonly Worker[]): Promise<void> {
  await scene.eventually(backend, () => coveredBy(workers));
}

function coveredBy(workers: readonly Worker[]): void {
  for (const { failure } of workers) expect(failure).toBeUndefined();
  expect(workers.flatMap(({ owned }) => owned).sort()).toEqual(names);
}

async function owners(backend: Backend): Promise<string[]> {
  return Object.keys(await texts(backend.kv, "partitioner/p/owner/"));
}

/** Who owns which partition. */
export function partitioner(suite: Suite): void {
  suite.it(
    "gives one member everything, and moves only what becomes its own when one comes",
    async (backend, scene) => {
      const workers: Worker[] = [];
      for (const process of await startMany(scene, 3)) {
        const before = workers.flatMap(({ held }) => held);
        const tokens = new Map(before.map(({ name, token }) => [name, token]));
        const newcomer = new Worker(process, scene);
        workers.push(newcomer);
        await newcomer.comesTo((owned) => expect(owned).not.toHaveLength(0));
        await covered(backend, scene, ...workers);
        for (const worker of workers.slice(0, -1))
          for (const partition of worker.held) expect(before).toContain(partition);
        for (const { name, token } of newcomer.held) expect(token).toBeGreaterThan(tokens.get(name) ?? 0n);
        for (const { name, signal } of before)
          if (signal.aborted) expect([signal.reason.code, newcomer.owned.includes(name)]).toEqual(["NOT_HELD", true]);
      }
    },
  );

  suite.it("gives a partition to nobody before its last user has stopped", async (backend, scene) => {
    const [one, two] = (await startMany(scene, 2)) as [Process, Process];
    const gates: (() => void)[] = [];
    const first = new Worker(one, scene);
    first.stopping = () => new Promise<void>((resolve) => gates.push(resolve));
    // What it has claimed since it first looked comes with the assignment after that.
    await scene.eventually(backend, () => {
      if (first.told.at(-1)?.partitions.size === 0) gates[first.told.length - 1]?.();
      coveredBy([first]);
    });
    const assignments = first.told.length;
    const before = first.held;
    const second = new Worker(two, scene);
    await scene.eventually(backend, () => expect(first.held.length).toBeLessThan(before.length));
    const revoked = before.filter(({ signal }) => signal.aborted);
    const guardedWrites = () =>
      Promise.all(
        revoked.map(async (partition) => {
          const done = { put: `done/${partition.name}`, value: new Uint8Array() };
          return (await one.conclave.kv.commit(partition.guard({ then: [done] }))).succeeded;
        }),
      );
    // It works on what it was told before, and then on what it was told to stop.
    for (const asked of [assignments, assignments + 1]) {
      for (let looks = 0; looks < 3; looks++) await quiet(backend, scene);
      expect([first.told.length, second.owned]).toEqual([asked, []]);
      expect(new Set(await guardedWrites())).toEqual(new Set([true]));
      gates[asked - 1]?.();
    }
    await second.comesTo((owned) => expect(owned).toEqual(revoked.map(({ name }) => name)));
    expect(new Set(await guardedWrites())).toEqual(new Set([false]));
  });

  suite.it("claims nothing that another has, though it does not see that", async (backend, scene) => {
    const [seeing, blind] = [await start(scene), await start(scene, {}, blindToOwners)];
    const first = new Worker(seeing, scene);
    await covered(backend, scene, first);
    first.stopping = () => new Promise<void>(() => {});
    const second = new Worker(blind, scene);
    await scene.eventually(backend, () => expect(first.owned.length).toBeLessThan(names.length));
    for (let looks = 0; looks < 5; looks++) await quiet(backend, scene);
    expect(second.owned).toEqual([]);
    await first.end();
    await covered(backend, scene, second);
  });

  suite.it(
    "gives what it had to the others when a member leaves, and leaves no key when all have",
    async (backend, scene) => {
      const [one, two] = (await startMany(scene, 2)) as [Process, Process];
      const workers = [new Worker(one, scene), new Worker(two, scene)] as const;
      await covered(backend, scene, ...workers);
      const reason = new Error("enough");
      await workers[0].end(reason);
      expect(workers[0].failure).toBe(reason);
      await covered(backend, scene, workers[1]);
      await workers[1].end(reason);
      expect(await texts(backend.kv)).toEqual({});
    },
  );

  suite.it(
    "gives the partitions of a process that died to the others at the end of its lease",
    async (backend, scene) => {
      const [victim, other] = [await startMortal(scene), await start(scene)];
      const [dead, alive] = [new Worker(victim, scene), new Worker(other, scene)];
      await covered(backend, scene, dead, alive);
      const tokens = new Map(dead.held.map(({ name, token }) => [name, token]));
      await scene.kill(victim.backend);
      await within(
        backend,
        2 * deathMs(scene),
        alive.comesTo((owned) => expect(owned).toEqual(names)),
      );
      expect(dead.owned).toEqual([]);
      for (const { name, token } of alive.held) expect(token).toBeGreaterThan(tokens.get(name) ?? 0n);
    },
  );

  suite.it("comes back with what is its own after a lost session", async (backend, scene) => {
    const process = await startLinked(scene);
    const worker = new Worker(process, scene);
    await covered(backend, scene, worker);
    const before = worker.held;
    process.link.cut();
    await scene.eventually(backend, () => expect(worker.owned).toEqual([]));
    for (const { signal } of before) expect(signal.reason).toMatchObject({ code: "LEASE_LOST" });
    process.link.mend();
    await within(backend, 2 * scene.patienceMs + 3_000, covered(backend, scene, worker));
    expect(Math.min(...worker.held.map(({ token }) => Number(token)))).toBeGreaterThan(
      Math.max(...before.map(({ token }) => Number(token))),
    );
  });

  suite.it("claims a partition anew whose key is deleted by hand, with a larger token", async (backend, scene) => {
    const worker = new Worker(await startMortal(scene), scene);
    await covered(backend, scene, worker);
    const [lost] = worker.held as [Partition];
    await remove(backend.kv, lost.key);
    await scene.eventually(backend, () => expect(lost.signal.reason).toMatchObject({ code: "LEASE_LOST" }));
    await within(backend, noticeMs(scene) + scene.patienceMs, covered(backend, scene, worker));
    expect(worker.held[0]?.token).toBeGreaterThan(lost.token);
  });

  suite.it("runs work for each partition, and lets it end before another member's begins", async (backend, scene) => {
    const processes = await startMany(scene, 3);
    const running = new Map<string, { readonly by: number; readonly partition: Partition }>();
    let overlaps = 0;
    const stop = new AbortController();
    const settleMs = scene.timing.ttlMs / 20;
    const work = async (partition: Partition, by: number) => {
      if (running.has(partition.name)) overlaps += 1;
      running.set(partition.name, { by, partition });
      await new Promise<void>((resolve) => partition.signal.addEventListener("abort", () => resolve(), { once: true }));
      await sleep(backend.clock, 4 * settleMs);
      running.delete(partition.name);
    };
    const runs: Promise<unknown>[] = [];
    for (const [by, { conclave }] of processes.entries()) {
      const shares = conclave.partitioner("p", { partitions: names, settleMs });
      runs.push(rejection(shares.run((partition) => work(partition, by), { signal: stop.signal })));
      await scene.eventually(backend, () => {
        const held = [...running.values()].filter(({ partition }) => partition.isHeld());
        expect(held.map(({ partition }) => partition.name).sort()).toEqual(names);
        expect(new Set(held.map(({ by }) => by)).size, "all of them work").toBe(by + 1);
      });
    }
    expect(overlaps).toBe(0);
    const reason = new Error("enough");
    stop.abort(reason);
    expect(await within(backend, scene.patienceMs, Promise.all(runs))).toEqual([reason, reason, reason]);
    expect([running.size, overlaps]).toEqual([0, 0]);
    await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
  });

  suite.it(
    "takes one commit to join, one to claim thirty partitions, and asks nothing while all stays",
    async (_, scene) => {
      const process = await startCounted(scene);
      const { backend, counted } = process;
      const [taking, worker] = await cost(counted, async () => {
        const one = new Worker(process, scene);
        await one.comesTo((owned) => expect(owned).toHaveLength(30));
        return one;
      });
      expect(taking).toEqual({ commit: 2, watch: 1, list: 1 });
      const [idle] = await cost(counted, () => quiet(backend, scene));
      // Some stores report gaps even then, and after each the group is read once more.
      expect({ ...idle, list: 0 }).toEqual({ list: 0 });
      await worker.end();
    },
  );

  suite.it(
    "never has two owners of anything, and in the end one of everything, whatever fails",
    async (backend, scene) => {
      const trouble = new Trouble(scene, faults);
      for (const seed of seeds(scene)) {
        const processes = await trouble.startMany(seed, 3);
        const workers: Worker[] = [];
        const watchman = { on: true };
        const last = new Map<string, bigint>();
        const watching = (async () => {
          while (watchman.on) {
            const held = workers.flatMap((worker) => worker.held);
            expect(new Set(held.map(({ name }) => name)).size, `seed ${seed}: two owners`).toBe(held.length);
            for (const { name, token } of held) {
              expect(token, `seed ${seed}: tokens grow`).toBeGreaterThanOrEqual(last.get(name) ?? 0n);
              last.set(name, token);
            }
            await sleep(backend.clock, scene.timing.ttlMs / 100);
          }
        })();
        for (const process of processes) {
          workers.push(new Worker(process, scene));
          await sleep(backend.clock, scene.timing.ttlMs / 10);
        }
        await workers[0]?.end();
        await eventually(backend.clock, troubledMs(scene), () => coveredBy(workers.slice(1)));
        watchman.on = false;
        await watching;
        for (const worker of workers) await worker.end();
        for (const { failure } of workers) expect(isCoordinationError(failure), String(failure)).toBe(false);
        await eventually(backend.clock, troubledMs(scene), async () => expect(await owners(backend)).toEqual([]));
        await closeAll(processes);
      }
      trouble.expectAtLeast(1, ...everyFault);
    },
  );
}

/** A store that does not show who owns what. */
function blindToOwners(inner: Backend): Backend {
  const visible = ({ key }: { readonly key: string }) => !key.includes("/owner/");
  const list: Backend["kv"]["list"] = async (prefix, options) => {
    const listing = await inner.kv.list(prefix, options);
    return { ...listing, entries: listing.entries.filter(visible) };
  };
  const watch: Backend["watches"]["watch"] = async (range, options) => {
    const watch = await inner.watches.watch(range, options);
    async function* batches(): AsyncGenerator<WatchBatch, void, undefined> {
      for await (const batch of watch)
        yield "gap" in batch ? batch : { ...batch, changes: batch.changes.filter(visible) };
    }
    return { [Symbol.asyncIterator]: batches, [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose]() };
  };
  const { get, commit } = inner.kv;
  return { ...inner, kv: { get: get.bind(inner.kv), commit: commit.bind(inner.kv), list }, watches: { watch } };
}
