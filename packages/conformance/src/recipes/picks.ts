import type { Instances, Strategy } from "@conclave/core";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { numbered } from "../entries.ts";
import { addresses } from "./directory.ts";
import { start } from "./process.ts";

/** A view of a service with an instance for each weight, named a, b, c, …, and how to add and remove some. */
async function service(scene: Scene, ...weights: readonly number[]) {
  const { backend, conclave } = await start(scene);
  const view = scene.use(await conclave.service("s").instances());
  const shown = (ids: readonly string[]) =>
    scene.eventually(backend, () => expect(Object.keys(addresses(view.snapshot))).toEqual(ids));
  const registrations = new Map<string, { deregister(): Promise<void> }>();
  const add = async (weight = 1) => {
    const id = String.fromCharCode("a".charCodeAt(0) + registrations.size);
    registrations.set(id, await conclave.service("s").register({ id, address: `${id}:1`, weight }));
    await shown([...registrations.keys()]);
  };
  const remove = async (id: string) => {
    await registrations.get(id)?.deregister();
    registrations.delete(id);
    await shown([...registrations.keys()]);
  };
  for (const weight of weights) await add(weight);
  return { view, add, remove };
}

/** Whom a number of picks chose, and how often. */
function tally(view: Instances, strategy: Strategy, picks: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let pick = 0; pick < picks; pick++) {
    const id = view.pick(strategy)?.instance.id as string;
    counts[id] = (counts[id] ?? 0) + 1;
  }
  return counts;
}

/** Whom each of many keys gets. */
function shares(view: Instances, strategy: Strategy): Map<string, string> {
  return new Map(numbered(600).map((key) => [key, view.pick(strategy, key)?.instance.id as string]));
}

/** How to choose among the instances of a service. */
export function picks(suite: Suite): void {
  suite.it("gives each its turn by round-robin", async (_backend, scene) => {
    const { view } = await service(scene, 1, 1, 1);
    expect(tally(view, "round-robin", 300)).toEqual({ a: 100, b: 100, c: 100 });
    const three = [1, 2, 3].map(() => view.pick("round-robin")?.instance.id);
    expect(new Set(three).size).toBe(3);
  });

  suite.it("gives everybody something at random", async (_backend, scene) => {
    const { view } = await service(scene, 1, 1, 1);
    for (const count of Object.values(tally(view, "random", 3_000))) expect(count).toBeGreaterThan(800);
  });

  suite.it("gives by weight, and nothing to a weight of 0", async (_backend, scene) => {
    const { view } = await service(scene, 1, 3, 0);
    const counts = tally(view, "weighted", 4_000);
    expect(counts).not.toHaveProperty("c");
    expect(counts["a"]).toBeGreaterThan(800);
    expect(counts["a"]).toBeLessThan(1_200);
  });

  suite.it("gives to the least busy, by what was picked and is not done", async (_backend, scene) => {
    const { view } = await service(scene, 1, 1, 1);
    const [first, ...others] = [1, 2, 3].map(() => view.pick("least-busy"));
    expect(new Set([first, ...others].map((pick) => pick?.instance.id)).size).toBe(3);
    first?.[Symbol.dispose]();
    expect(view.pick("least-busy")?.instance.id).toBe(first?.instance.id);
    expect(tally(view, "least-busy", 3)).toEqual({ a: 1, b: 1, c: 1 });
  });

  suite.it("counts what is done once, however often that is said", async (_backend, scene) => {
    const { view } = await service(scene, 1, 1);
    const picks = [1, 2, 3, 4, 5, 6].map(() => view.pick("least-busy"));
    const [first] = picks;
    for (let times = 0; times < 3; times++) first?.[Symbol.dispose]();
    picks.find((pick) => pick?.instance.id !== first?.instance.id)?.[Symbol.dispose]();
    expect(tally(view, "least-busy", 2)).toEqual({ a: 1, b: 1 });
  });

  suite.it("gives a key the same instance by consistent hash, in every process", async (_backend, scene) => {
    const { view } = await service(scene, 1, 1, 1, 1);
    const before = shares(view, "consistent-hash");
    expect(shares(view, "consistent-hash")).toEqual(before);
    await using other = await (await start(scene)).conclave.service("s").instances();
    expect(shares(other, "consistent-hash")).toEqual(before);
    for (const id of ["a", "b", "c", "d"]) {
      const share = [...before.values()].filter((one) => one === id).length;
      expect(share, `the share of ${id}`).toBeGreaterThan(600 / 8);
    }
  });

  suite.it("moves few keys by consistent hash, and only to who came or from who went", async (_backend, scene) => {
    const { view, add, remove } = await service(scene, 1, 1, 1);
    const three = shares(view, "consistent-hash");
    await add();
    const four = shares(view, "consistent-hash");
    const moved = [...four].filter(([key, id]) => three.get(key) !== id);
    expect(new Set(moved.map(([, id]) => id))).toEqual(new Set(["d"]));
    expect(moved.length).toBeLessThan(600 / 2);
    await remove("b");
    for (const [key, id] of shares(view, "consistent-hash")) {
      if (four.get(key) !== "b") expect(id).toBe(four.get(key));
    }
  });

  suite.it("sticks to an instance while it is there, and then to another", async (_backend, scene) => {
    const { view, add, remove } = await service(scene, 1, 1, 1);
    const before = shares(view, "sticky");
    await add();
    expect(shares(view, "sticky")).toEqual(before);
    await remove("a");
    const after = shares(view, "sticky");
    for (const [key, id] of before) if (id !== "a") expect(after.get(key)).toBe(id);
    expect([...after.values()]).not.toContain("a");
    expect(shares(view, "sticky")).toEqual(after);
  });

  suite.it("gives nobody where there is nobody, whatever the strategy", async (_backend, scene) => {
    const { view, add } = await service(scene);
    const strategies: Strategy[] = ["round-robin", "random", "weighted", "least-busy", "consistent-hash", "sticky"];
    for (const strategy of strategies) expect(view.pick(strategy, "key"), strategy).toBeUndefined();
    await add();
    for (const strategy of strategies) expect(view.pick(strategy, "key")?.instance.id, strategy).toBe("a");
  });

  suite.it("refuses a strategy that it does not know, and a hash or a habit without a key", async (_backend, scene) => {
    const { view } = await service(scene, 1);
    expect(() => view.pick("best" as Strategy)).toThrow(RangeError);
    expect(() => view.pick("toString" as Strategy)).toThrow(RangeError);
    for (const strategy of ["consistent-hash", "sticky"] as const) expect(() => view.pick(strategy)).toThrow(TypeError);
  });
}
