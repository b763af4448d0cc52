import type { Queue } from "@conclave/core";
import type { Watch, WatchBatch } from "@conclave/core/backend";
import type { Suite } from "../context.ts";
import { intercepted } from "../intercepted.ts";
import { type Process, quiet, start, within } from "./process.ts";

const queueOf = ({ conclave }: Process): Queue<string> => conclave.queue<string>("q", { maxLength: 1 });

/** A watch that tells nothing until then, and of all that was before only that it may have missed something. */
function merging(watch: Watch, until: Promise<unknown>): Watch {
  async function* batches(): AsyncGenerator<WatchBatch, void, undefined> {
    await until;
    yield { gap: true };
    yield* watch;
  }
  return { [Symbol.asyncIterator]: batches, [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose]() };
}

/** Who waits for room in a bounded queue. */
export function queueRoom(suite: Suite): void {
  suite.it("lets in who waits for a place that came and went between two looks", async (backend, scene) => {
    let look = () => {};
    const looked = new Promise<void>((resolve) => {
      look = resolve;
    });
    const producer = await start(scene, {}, (inner) =>
      intercepted(inner, { call: (_, send) => send(), watch: (watch) => merging(watch, looked) }),
    );
    const consumer = await start(scene);
    await queueOf(producer).enqueue("first");
    await (await within(backend, scene.patienceMs, queueOf(consumer).claim())).ack();
    // The producer's copy shows neither that it took the place nor that the place is free again: the same, before and after.
    const enqueued = queueOf(producer).enqueue("second");
    await quiet(backend, scene);
    look();
    await within(backend, scene.patienceMs, enqueued);
  });
}
