import { scoped } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { applied, fill, keysOf, put, refused, texts, write } from "../entries.ts";
import { Follower } from "../follower.ts";

/** Views of a backend through a prefix. */
export function scopes(suite: Suite): void {
  suite.it("keeps two scopes out of each other's sight", async (backend) => {
    const [a, b] = [scoped(backend, "a/"), scoped(backend, "b/")];
    await write(a.kv, { key: "of a" });
    await write(b.kv, { key: "of b" });
    expect(await texts(a.kv)).toEqual({ key: "of a" });
    expect(await texts(b.kv)).toEqual({ key: "of b" });
    expect(await texts(backend.kv)).toEqual({ "a/key": "of a", "b/key": "of b" });
    await a.kv.commit({ then: [{ delete: "key" }] });
    expect(await texts(b.kv)).toEqual({ key: "of b" });
  });

  suite.it("adds up the prefixes of a scope in a scope", async (backend) => {
    const inner = scoped(scoped(backend, "a/"), "b/");
    await write(inner.kv, { key: "1" });
    expect(await texts(backend.kv)).toEqual({ "a/b/key": "1" });
    expect(await inner.kv.get("key")).toMatchObject({ key: "key" });
  });

  suite.it("judges the conditions of a scope inside it", async (backend) => {
    const scope = scoped(backend, "a/");
    await write(backend.kv, { key: "", "p/x": "" });
    applied(await scope.kv.commit({ if: [{ key: "key", exists: false }], then: [] }));
    applied(await scope.kv.commit({ if: [{ prefix: "", empty: true }], then: [put("key", "inside")] }));
    refused(await scope.kv.commit({ if: [{ prefix: "", empty: true }], then: [] }));
    expect(await texts(backend.kv)).toEqual({ key: "", "p/x": "", "a/key": "inside" });
  });

  suite.it("shows the names of a scope in a transaction's results", async (backend) => {
    const scope = scoped(backend, "a/");
    const commit = applied(
      await scope.kv.commit({
        then: [put("p/1", ""), { get: "p/1" }, { list: "p/" }, { list: "p/", startAfter: "p/1" }],
      }),
    );
    expect(commit.results[1]?.key).toBe("p/1");
    expect(keysOf(commit.results[2])).toEqual(["p/1"]);
    expect(keysOf(commit.results[3])).toEqual([]);
  });

  suite.it("lists a scope from a key on, and to a limit, by the names in it", async (backend) => {
    const scope = scoped(backend, "m/");
    await fill(backend.kv, ["l", "m/a", "m/b", "m/c", "n"]);
    expect(keysOf(await scope.kv.list("", { startAfter: "a" }))).toEqual(["b", "c"]);
    expect(await scope.kv.list("", { limit: 3 })).toMatchObject({ more: false });
  });

  suite.it("watches a scope by the names in it", async (backend, scene) => {
    const scope = scoped(backend, "a/");
    const [all, one] = [
      scene.use(await Follower.open(scope, { prefix: "" })),
      scene.use(await Follower.open(scope, { key: "key" })),
    ];
    await write(backend.kv, { "a/key": "in", "b/key": "out", key: "out" });
    await scene.eventually(backend, () => expect([all.texts, one.texts]).toEqual([{ key: "in" }, { key: "in" }]));
    all.check();
    one.check();
  });

  suite.it("leaves the process open when a view of it is disposed", async (backend) => {
    const scope = scoped(backend, "a/");
    await scope[Symbol.asyncDispose]();
    await expect(scope.kv.get("key")).rejects.toMatchObject({ code: "CLOSED" });
    await write(backend.kv, { "a/key": "1" });
    expect(await texts(backend.kv)).toEqual({ "a/key": "1" });
  });
}
