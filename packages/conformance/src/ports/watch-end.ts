import { type Backend, sleep, type Watch, type WatchBatch } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { write } from "../entries.ts";
import { Follower } from "../follower.ts";
import { failsWith } from "./leases.ts";

async function drain(watch: Watch): Promise<WatchBatch[]> {
  const batches: WatchBatch[] = [];
  for await (const batch of watch) batches.push(batch);
  return batches;
}

/** Lets everything go on that can. */
function moment(backend: Backend): Promise<void> {
  return sleep(backend.clock, 1);
}

/** How a watch ends: when told, at once, and saying why. */
export function watchEnd(suite: Suite): void {
  suite.it("ends a waiting reader when it is disposed", async (backend) => {
    const watch = await backend.watches.watch({ prefix: "" });
    const drained = drain(watch);
    await moment(backend);
    await watch[Symbol.asyncDispose]();
    expect(await drained).toEqual([]);
  });

  suite.it("takes it well to be disposed twice, and before it was ever read", async (backend) => {
    const watch = await backend.watches.watch({ prefix: "" });
    await Promise.all([watch[Symbol.asyncDispose](), watch[Symbol.asyncDispose]()]);
    await watch[Symbol.asyncDispose]();
    expect(await drain(watch)).toEqual([]);
  });

  suite.it("shows nothing more once it is disposed", async (backend, scene) => {
    const follower = await Follower.open(backend, { prefix: "" });
    await follower[Symbol.asyncDispose]();
    const before = follower.batches.length;
    await write(backend.kv, { key: "" });
    await sleep(backend.clock, scene.timing.watchDelayMs + 1);
    expect(follower.batches).toHaveLength(before);
    expect(follower).toMatchObject({ ended: true, failure: undefined });
  });

  suite.it("ends with the reader's loop when that breaks off", async (backend) => {
    const watch = await backend.watches.watch({ prefix: "" });
    await write(backend.kv, { key: "" });
    for await (const _ of watch) break;
    await write(backend.kv, { key: "again" });
    expect(await drain(watch)).toEqual([]);
  });

  suite.it("ends a waiting reader with its signal's own reason", async (backend) => {
    const [controller, reason] = [new AbortController(), { my: "reason" }];
    const watch = await backend.watches.watch({ prefix: "" }, { signal: controller.signal });
    const drained = drain(watch);
    drained.catch(() => {});
    await moment(backend);
    controller.abort(reason);
    await expect(drained).rejects.toBe(reason);
  });

  suite.it("ends one watch with its signal and leaves the others", async (backend, scene) => {
    const controller = new AbortController();
    const ended = scene.use(await Follower.open(backend, { prefix: "" }, controller.signal));
    const other = scene.use(await Follower.open(backend, { prefix: "" }));
    controller.abort(new Error("enough"));
    await write(backend.kv, { key: "" });
    await scene.eventually(backend, () => expect(other.texts).toEqual({ key: "" }));
    expect(ended.failure?.error).toBe(controller.signal.reason);
  });

  suite.it("ends waiting readers with CLOSED when its process is closed", async (_, scene) => {
    const process = await scene.connectUnscoped();
    const [first, second] = [
      await process.watches.watch({ prefix: scene.prefix }),
      await process.watches.watch({ key: `${scene.prefix}key` }),
    ];
    const drained = [drain(first), drain(second)];
    for (const each of drained) each.catch(() => {});
    await moment(process);
    await process[Symbol.asyncDispose]();
    for (const each of drained) await failsWith("CLOSED", each);
  });

  suite.it("ends a reader that comes after its process was closed", async (_, scene) => {
    const process = await scene.connectUnscoped();
    const watch = await process.watches.watch({ prefix: scene.prefix });
    await process[Symbol.asyncDispose]();
    await failsWith("CLOSED", drain(watch));
  });
}
