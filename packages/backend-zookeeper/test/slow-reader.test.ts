import { encode, WatchFeed } from "@conclave/core/backend";
import { expect, test, vi } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { zookeeperServers } from "../../../test/harness/servers.ts";
import { zookeeper } from "../src/index.ts";

for (const place of zookeeperServers()) {
  test(`A reader of changes that is slow again and again leaves nothing behind that waits for its end, on ${place.name}`, async () => {
    await using opened = await place.open();
    await using backend = await zookeeper({ servers: opened.servers, root: "/slow" }).connect();
    let listeners = 0;
    const added = vi.spyOn(AbortSignal.prototype, "addEventListener").mockImplementation(function (
      this: AbortSignal,
      ...given: Parameters<AbortSignal["addEventListener"]>
    ) {
      listeners += 1;
      EventTarget.prototype.addEventListener.apply(this, given as Parameters<EventTarget["addEventListener"]>);
    });
    const removed = vi.spyOn(AbortSignal.prototype, "removeEventListener").mockImplementation(function (
      this: AbortSignal,
      ...given: Parameters<AbortSignal["removeEventListener"]>
    ) {
      listeners -= 1;
      EventTarget.prototype.removeEventListener.apply(this, given as Parameters<EventTarget["removeEventListener"]>);
    });
    try {
      const watch = await backend.watches.watch({ prefix: "" });
      if (!(watch instanceof WatchFeed)) throw new TypeError("it is to tell how far its reader is behind");
      const reader = watch[Symbol.asyncIterator]();
      const put = () => backend.kv.commit({ then: [{ put: "key", value: encode("") }] });
      const spells: number[] = [];
      for (let spell = 0; spell < 5; spell += 1) {
        while (watch.pending < 8) {
          const before = watch.pending;
          await put();
          await eventually(() => watch.pending > before);
        }
        // What changed now waits until the others are taken.
        const { revision } = await put();
        await eventually(() => watch.drained !== undefined);
        for (let seen = 0n; seen < revision; ) {
          const { value } = await reader.next();
          if (value && "revision" in value) seen = value.revision;
        }
        spells.push(listeners);
      }
      expect(spells.at(-1)).toBeLessThan((spells[0] as number) + 3);
      await watch[Symbol.asyncDispose]();
    } finally {
      added.mockRestore();
      removed.mockRestore();
    }
  }, 30_000);
}
