import type { Watch, WatchBatch } from "@conclave/core/backend";
import type { Scene } from "../context.ts";
import { intercepted } from "../intercepted.ts";
import { type Process, start } from "./process.ts";

/** Whether watches hear nothing for now. */
export interface Ears {
  deaf: boolean;
}

/** A process whose watches a test can make deaf: the next they hear is then that they may have missed something. */
export async function startDeafened(scene: Scene): Promise<Process & { readonly ears: Ears }> {
  const ears: Ears = { deaf: false };
  const process = await start(scene, {}, (inner) =>
    intercepted(inner, { call: (_, send) => send(), watch: (watch) => deafened(watch, ears) }),
  );
  return { ...process, ears };
}

function deafened(watch: Watch, ears: Readonly<Ears>): Watch {
  async function* batches(): AsyncGenerator<WatchBatch, void, undefined> {
    let missed = false;
    for await (const batch of watch) {
      if (ears.deaf) {
        missed = true;
        continue;
      }
      if (missed) yield { gap: true };
      missed = false;
      yield batch;
    }
  }
  return { [Symbol.asyncIterator]: batches, [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose]() };
}
