import { decode, type KV } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { applied, fill, keysOf, numbered, present, put, textOf, texts, write } from "../entries.ts";

/** Adds one to a number, however many others do. */
async function increment(kv: KV, key: string): Promise<void> {
  for (;;) {
    const entry = await present(kv, key);
    const next = String(Number(textOf(entry)) + 1);
    const commit = await kv.commit({ if: [{ key, modified: entry.modified }], then: [put(key, next)] });
    if (commit.succeeded) return;
  }
}

async function times(count: number, act: (round: number) => Promise<void>): Promise<void> {
  for (let round = 0; round < count; round++) await act(round);
}

/** What holds when several transactions are under way at once, of several processes or of one. */
export function atomicity(suite: Suite): void {
  suite.it("loses no update of four processes that compare and set", async ({ kv }, scene) => {
    await write(kv, { count: "0" });
    const others = [await scene.connect(), await scene.connect(), await scene.connect()];
    await Promise.all(
      [kv, ...others.map((other) => other.kv)].map((each) => times(25, () => increment(each, "count"))),
    );
    expect(await texts(kv)).toEqual({ count: "100" });
  });

  suite.it("loses no update of one process that compares and sets in eight places at once", async ({ kv }) => {
    await write(kv, { count: "0" });
    await Promise.all(numbered(8).map(() => times(10, () => increment(kv, "count"))));
    expect(await texts(kv)).toEqual({ count: "80" });
  });

  suite.it("reads what was there when the conditions held, where nothing is written", async ({ kv }, scene) => {
    const writer = await scene.connect();
    const moved = (round: number) => ({ from: String(round), to: String(-round) });
    await write(kv, moved(0));
    let writing = true;
    const moving = (async () => {
      for (let round = 1; round <= 60; round++) await write(writer.kv, moved(round));
      writing = false;
    })();
    let held = 0;
    while (writing || held === 0) {
      const { modified, value } = await present(kv, "from");
      const commit = await kv.commit({
        if: [
          { key: "from", modified },
          { prefix: "from", noneModifiedAfter: modified },
        ],
        then: [{ get: "to" }, { list: "to" }],
      });
      if (!commit.succeeded) continue;
      held += 1;
      const expected = String(-Number(decode(value)));
      expect(commit.results[0]?.modified).toBe(modified);
      expect(
        commit.results.map((result) => textOf(result && "entries" in result ? result.entries[0] : result)),
      ).toEqual([expected, expected]);
    }
    await moving;
  });

  suite.it("lets one of many that create a key do so, and shows the others who did", async ({ kv }, scene) => {
    const other = await scene.connect();
    await times(10, async (round) => {
      const key = `key-${round}`;
      const commits = await Promise.all(
        numbered(8).map(async (name, index) => ({
          name,
          commit: await (index % 2 === 0 ? kv : other.kv).commit({
            if: [{ key, exists: false }],
            then: [put(key, name)],
            else: [{ get: key }],
          }),
        })),
      );
      const winners = commits.filter(({ commit }) => commit.succeeded);
      expect(winners).toHaveLength(1);
      for (const { commit } of commits) {
        if (!commit.succeeded) expect(textOf(commit.results[0])).toBe(winners[0]?.name);
      }
    });
  });

  suite.it("lets one of many that find a prefix empty go below it", async ({ kv }, scene) => {
    const other = await scene.connect();
    await times(10, async (round) => {
      const commits = await Promise.all(
        numbered(8).map((name, index) =>
          (index % 2 === 0 ? kv : other.kv).commit({
            if: [{ prefix: `room-${round}/`, empty: true }],
            then: [put(`room-${round}/${name}`, "")],
          }),
        ),
      );
      expect(commits.filter((commit) => commit.succeeded)).toHaveLength(1);
      expect((await kv.list(`room-${round}/`)).entries).toHaveLength(1);
    });
  });

  suite.it("never lets two commits each rely on what the other one ends", async ({ kv }, scene) => {
    const other = await scene.connect();
    await times(20, async (round) => {
      const [a, b] = [`a-${round}`, `b-${round}`];
      const second = round % 2 === 0 ? kv : other.kv;
      const commits = await Promise.all([
        kv.commit({ if: [{ key: a, exists: false }], then: [put(b, "")] }),
        second.commit({ if: [{ key: b, exists: false }], then: [put(a, "")] }),
      ]);
      expect(commits.filter((commit) => commit.succeeded)).toHaveLength(1);
    });
  });

  suite.it("tells one of many that delete a key that it went", async ({ kv }, scene) => {
    const other = await scene.connect();
    await times(10, async () => {
      await write(kv, { key: "" });
      const commits = await Promise.all(
        numbered(6).map((_, index) => (index % 2 === 0 ? kv : other.kv).commit({ then: [{ delete: "key" }] })),
      );
      expect(commits.map((commit) => applied(commit).results[0]).filter((went) => went)).toHaveLength(1);
    });
  });

  suite.it("gives concurrent creations of one process their own places in the line", async ({ kv }) => {
    const names = numbered(20, "line/");
    const commits = await Promise.all(names.map((name) => kv.commit({ then: [put(name, ""), { list: "line/" }] })));
    for (const [index, commit] of commits.entries()) {
      expect(keysOf(applied(commit).results[1])).toContain(names[index]);
    }
    const line = await kv.list("line/", { order: "oldest" });
    expect(new Set(line.entries.map((entry) => entry.created)).size).toBe(names.length);
    expect([...keysOf(line)].sort()).toEqual(names);
  });

  suite.it("shows the two halves of a commit together or not at all", async ({ kv }, scene) => {
    const reader = await scene.connect();
    await write(kv, { "p/a": "0", "q/b": "0" });
    let writing = true;
    const writes = times(40, async (round) => {
      await write(kv, { "p/a": String(round), "q/b": String(round) });
    }).then(() => {
      writing = false;
    });
    do {
      const together = applied(await reader.kv.commit({ then: [{ get: "p/a" }, { list: "q/" }] }));
      expect(textOf(together.results[1].entries[0])).toBe(textOf(together.results[0]));
      const listed = await texts(reader.kv);
      expect(listed["p/a"]).toBe(listed["q/b"]);
    } while (writing);
    await writes;
  });

  suite.it("keeps the sum while processes move amounts between accounts", async ({ kv }, scene) => {
    const accounts = ["bank/a", "bank/b", "bank/c", "bank/d"];
    await fill(kv, accounts, "100");
    const clients = [await scene.connect(), await scene.connect(), await scene.connect()];
    const move = async (each: KV, from: string, to: string) => {
      const read = applied(await each.commit({ then: [{ get: from }, { get: to }] }));
      const [source, target] = read.results;
      if (!source || !target) throw new Error("an account is gone");
      await each.commit({
        if: [source, target].map(({ key, modified }) => ({ key, modified })),
        then: [put(from, String(Number(textOf(source)) - 1)), put(to, String(Number(textOf(target)) + 1))],
      });
    };
    const moving = clients.map((client, index) =>
      times(20, (round) => {
        const from = (index + round) % accounts.length;
        const to = (from + 1 + (round % 3)) % accounts.length;
        return move(client.kv, accounts[from] as string, accounts[to] as string);
      }),
    );
    const sums = times(20, async () => {
      const sum = Object.values(await texts(kv, "bank/")).reduce((total, text) => total + Number(text), 0);
      expect(sum).toBe(400);
    });
    await Promise.all([...moving, sums]);
  });

  suite.it("decides concurrent commits of one key in the order of their revisions", async ({ kv }, scene) => {
    const other = await scene.connect();
    const commits = await Promise.all(
      numbered(20).map((name, index) => (index % 2 === 0 ? kv : other.kv).commit({ then: [put("key", name)] })),
    );
    const revisions = commits.map((commit) => commit.revision);
    expect(new Set(revisions).size).toBe(revisions.length);
    const entry = await present(kv, "key");
    for (const revision of revisions) expect(revision).toBeLessThanOrEqual(entry.modified);
    expect(textOf(entry)).toBe(numbered(20)[revisions.indexOf(entry.modified)]);
  });
}
