import { type KV, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { fill, keysOf, numbered, put, remove, textOf } from "../entries.ts";

async function pages(kv: KV, prefix: string, limit: number): Promise<string[]> {
  const keys: string[] = [];
  for (;;) {
    const page = await kv.list(prefix, { limit, startAfter: keys.at(-1) });
    keys.push(...keysOf(page));
    if (!page.more) return keys;
    expect(page.entries).toHaveLength(limit);
  }
}

/** Lists larger than any store gives in one answer, while others write. */
export function paging(suite: Suite): void {
  suite.it("pages through 1,250 keys without missing one or giving one twice", async ({ kv }) => {
    const keys = numbered(1_250);
    await fill(kv, keys);
    expect(await pages(kv, "", 100)).toEqual(keys);
    expect(await pages(kv, "", 1_250)).toEqual(keys);
  });

  suite.it("pages past keys that come and go meanwhile, and misses none that stay", async ({ kv }, scene) => {
    const keys = numbered(300);
    await fill(kv, keys);
    const writer = await scene.connect();
    let paging = true;
    const writing = (async () => {
      for (let round = 0; paging; round++) {
        const passing = keys.filter((_, index) => index % 30 === round % 30).map((key) => `${key}-passing`);
        await fill(writer.kv, passing);
        await sleep(writer.clock, 1);
        await remove(writer.kv, ...passing);
      }
    })();
    for (let pass = 0; pass < 5; pass++) {
      await sleep(writer.clock, 1);
      const seen = await pages(kv, "", 25);
      expect(seen).toEqual([...new Set(seen)].sort());
      expect(seen.filter((key) => !key.endsWith("-passing"))).toEqual(keys);
    }
    paging = false;
    await writing;
  });

  suite.it("lists 1,250 keys as one cut while the first and the last are rewritten together", async ({ kv }, scene) => {
    const keys = numbered(1_250);
    await fill(kv, keys, "0");
    const writer = await scene.connect();
    const [first, last] = [keys[0] as string, keys.at(-1) as string];
    let listing = true;
    let writes = 0;
    const writing = (async () => {
      while (listing) {
        writes += 1;
        await writer.kv.commit({ then: [put(first, `${writes}`), put(last, `${writes}`)] });
        await sleep(writer.clock, 1);
      }
    })();
    for (let pass = 0; pass < 12 || writes < 12; pass++) {
      await sleep(writer.clock, 1);
      const { entries, revision } = await kv.list("");
      expect(entries).toHaveLength(keys.length);
      expect(textOf(entries.at(-1))).toBe(textOf(entries[0]));
      for (const { modified } of entries) expect(modified).toBeLessThanOrEqual(revision);
    }
    listing = false;
    await writing;
  });

  suite.it("lists 1,250 keys as one cut while keys are created and deleted", async ({ kv }, scene) => {
    const keys = numbered(1_250, "stays/");
    await fill(kv, keys);
    const mover = await scene.connect();
    await mover.kv.commit({ then: [put("stays/00000-token", "")] });
    let listing = true;
    let moves = 0;
    const moving = (async () => {
      const homes = ["stays/00000-token", "stays/01249-token"] as const;
      while (listing) {
        const [from, to] = moves++ % 2 === 0 ? homes : [homes[1], homes[0]];
        await mover.kv.commit({ then: [{ delete: from }, put(to, "")] });
        await sleep(mover.clock, 1);
      }
    })();
    for (let pass = 0; pass < 12 || moves < 12; pass++) {
      await sleep(mover.clock, 1);
      const shown = keysOf(await kv.list("", { keysOnly: true }));
      expect(shown.filter((key) => key.endsWith("-token"))).toHaveLength(1);
      expect(shown).toHaveLength(keys.length + 1);
    }
    listing = false;
    await moving;
  });
}
