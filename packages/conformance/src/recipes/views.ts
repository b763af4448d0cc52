import type { Instance, InstanceCallbacks } from "@conclave/core";
import { sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import { eventually, type Scene, type Suite } from "../context.ts";
import { startDeafened } from "./deaf-watches.ts";
import { addresses } from "./directory.ts";
import { type Process, quiet, start, startLinked, startPair, within } from "./process.ts";

/** Longer than a view takes to find out, unprompted, that the store is away or back. */
const probingMs = 20_000;

/** What a view of a service tells its readers over time. */
export function views(suite: Suite): void {
  suite.it(
    "keeps what was last known, and says that it is stale, until the store answers again",
    async (backend, scene) => {
      const [registrar, reader] = [await start(scene), await startLinked(scene)];
      await registrar.conclave.service("a").register({ id: "1", address: "x:1" });
      await using view = await reader.conclave.service("a").instances();
      expect(view.snapshot.stale).toBe(false);
      const seen: string[] = [];
      const reading = (async () => {
        for await (const snapshot of view) {
          seen.push(`${snapshot.stale ? "stale" : "fresh"} ${Object.keys(addresses(snapshot)).join()}`);
        }
      })();
      reader.link.cut();
      await registrar.conclave.service("a").register({ id: "2", address: "x:2" });
      await eventually(backend.clock, probingMs, () => expect(seen.at(-1)).toBe("stale 1"));
      reader.link.mend();
      await eventually(backend.clock, probingMs, () => expect(seen.at(-1)).toBe("fresh 1,2"));
      expect(seen[0]).toBe("fresh 1");
      await view[Symbol.asyncDispose]();
      await reading;
    },
  );

  suite.it("calls back once for every instance that comes, says something new, or goes", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const service = one.conclave.service("a");
    const first = await service.register({ id: "1", address: "x:1" });
    await using view = await other.conclave.service("a").instances();
    const calls: string[] = [];
    using _ = view.subscribe(recording(calls));
    const comesTo = (...wanted: string[]) => scene.eventually(backend, () => expect(calls).toEqual(wanted));
    await comesTo("started 1 x:1");
    const second = await service.register({ id: "2", address: "x:2" });
    await comesTo("started 1 x:1", "started 2 x:2");
    await first.update({ address: "y:1" });
    await comesTo("started 1 x:1", "started 2 x:2", "changed 1 x:1 y:1");
    await second.deregister();
    await comesTo("started 1 x:1", "started 2 x:2", "changed 1 x:1 y:1", "stopped 2 x:2");
    await sleep(backend.clock, 4 * scene.timing.watchDelayMs + 1);
    await comesTo("started 1 x:1", "started 2 x:2", "changed 1 x:1 y:1", "stopped 2 x:2");
  });

  suite.it("says nothing when an instance is written anew in the same words", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const instance = await one.conclave.service("a").register({ id: "1", address: "x:1", metadata: { a: [1] } });
    await using view = await other.conclave.service("a").instances();
    const calls: string[] = [];
    using _ = view.subscribe(recording(calls));
    await instance.update({ metadata: { a: [1] } });
    await instance.update({ weight: 2 });
    await scene.eventually(backend, () => expect(calls).toEqual(["started 1 x:1", "changed 1 x:1 x:1"]));
  });

  suite.it("goes on calling back after a callback threw, and tells onWarning", async (backend, scene) => {
    const warnings: string[] = [];
    const reader = await start(scene, { onWarning: (warning) => warnings.push(warning) });
    const { conclave } = await start(scene);
    await using view = await reader.conclave.service("a").instances();
    const calls: string[] = [];
    using _ = view.subscribe({
      started: ({ id }) => {
        calls.push(id);
        if (id === "1") throw new Error("no room");
      },
    });
    using other = view.subscribe(recording(calls));
    for (const id of ["1", "2"]) await conclave.service("a").register({ id, address: "x:1" });
    await scene.eventually(backend, () =>
      expect([...calls].sort()).toEqual(["1", "2", "started 1 x:1", "started 2 x:1"]),
    );
    expect(other).toBeDefined();
    expect(warnings).toEqual([expect.stringContaining("no room")]);
  });

  suite.it("shows what came and went while its watch may have missed something", async (backend, scene) => {
    const registrar = await start(scene);
    const { conclave, ears } = await startDeafened(scene);
    const service = registrar.conclave.service("a");
    const goes = await service.register({ id: "1", address: "x:1" });
    await using view = await conclave.service("a").instances();
    ears.deaf = true;
    await goes.deregister();
    await service.register({ id: "2", address: "x:2" });
    await quiet(backend, scene);
    ears.deaf = false;
    await service.register({ id: "3", address: "x:3" });
    await scene.eventually(backend, () => expect(addresses(view.snapshot)).toEqual({ "2": "x:2", "3": "x:3" }));
  });

  suite.it("calls back no more once the subscription is disposed", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    await using view = await other.conclave.service("a").instances();
    const [ended, going]: [string[], string[]] = [[], []];
    const subscription = view.subscribe(recording(ended));
    using _ = view.subscribe(recording(going));
    const instance = await one.conclave.service("a").register({ id: "1", address: "x:1" });
    await scene.eventually(backend, () => expect(ended).toHaveLength(1));
    subscription[Symbol.dispose]();
    await instance.deregister();
    await scene.eventually(backend, () => expect(going).toHaveLength(2));
    expect(ended).toEqual(["started 1 x:1"]);
  });

  suite.it("comes to the same in every view, while instances come and go", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const views = await Promise.all(
      [one, other, one].map(async ({ conclave }) => scene.use(await conclave.service("a").instances())),
    );
    const churn = async ({ conclave }: Process, name: string) => {
      for (let round = 0; round < 8; round++) {
        const instance = await conclave.service("a").register({ id: `${name}${round}`, address: name });
        await sleep(backend.clock, backend.clock.random() * 3);
        if (round % 2 === 0) await instance.deregister();
        else await instance.update({ address: `${name}, later` });
      }
    };
    await within(backend, 10 * scene.patienceMs, Promise.all([churn(one, "x"), churn(other, "y")]));
    const left = ["x", "y"].flatMap((name) => [1, 3, 5, 7].map((round) => [`${name}${round}`, `${name}, later`]));
    for (const view of views) await agrees(scene, one, () => addresses(view.snapshot), Object.fromEntries(left));
  });
}

function agrees(scene: Scene, { backend }: Process, seen: () => unknown, wanted: unknown): Promise<void> {
  return scene.eventually(backend, () => expect(seen()).toEqual(wanted));
}

function recording(calls: string[]): InstanceCallbacks {
  return {
    started: ({ id, address }: Instance) => void calls.push(`started ${id} ${address}`),
    changed: ({ id, address }: Instance, before: Instance) =>
      void calls.push(`changed ${id} ${before.address} ${address}`),
    stopped: ({ id, address }: Instance) => void calls.push(`stopped ${id} ${address}`),
  };
}
