import { connect, type Json } from "@conclave/core";
import { decode } from "@conclave/core/backend";
import { afterEach, describe, expect, test } from "vitest";
import { type Any, failure, losingAnswers, outcome, put, puts, remove, type World, world } from "./kit.ts";

let playing: Disposable | undefined;
afterEach(() => playing?.[Symbol.dispose]());

async function start() {
  const made = await world();
  playing = made.clock.play();
  const [conclave, rival] = [await connect(made.backend), await connect(made.other)];
  await conclave.session();
  made.backend.calls.length = 0;
  return { ...made, conclave, rival };
}

const counted = ({ backend }: World) => backend.calls.map(({ name }) => name).filter((name) => name !== "keepAlive");

describe("an atomic value", () => {
  test("is what was set last, under a revision that grows", async () => {
    const all = await start();
    const value = all.conclave.atomic<{ n: number }>("a");
    expect(await value.get()).toBeUndefined();
    const first = await value.set({ n: 1 });
    expect(await all.rival.atomic("a").get()).toEqual({ value: { n: 1 }, revision: first });
    const second = await all.rival.atomic("a").set({ n: 1 });
    expect(second).toBeGreaterThan(first);
    expect(counted(all)).toEqual(["get", "commit"]);
  });

  test("is set if it is still that of a revision, in one round trip", async () => {
    const all = await start();
    const value = all.conclave.atomic<string>("a");
    const first = await value.compareAndSet(undefined, "one");
    expect(await value.compareAndSet(undefined, "again")).toBeUndefined();
    const second = await value.compareAndSet(first, "two");
    expect(await value.compareAndSet(first, "late")).toBeUndefined();
    expect(await value.get()).toEqual({ value: "two", revision: second });
    expect(counted(all)).toEqual(["commit", "commit", "commit", "commit", "get"]);
  });

  test("that was deleted and set anew, or changed back, is not mistaken for the one that was read", async () => {
    const all = await start();
    const value = all.conclave.atomic<string>("a");
    const first = await value.set("same");
    await all.rival.atomic("a").set("other");
    await all.rival.atomic("a").set("same");
    expect(await value.compareAndSet(first, "mine")).toBeUndefined();
    const read = await value.get();
    await all.rival.atomic("a").delete();
    expect(await value.get()).toBeUndefined();
    await all.rival.atomic("a").set("same");
    expect(await value.compareAndSet(read?.revision, "mine")).toBeUndefined();
    expect(await value.compareAndSet(undefined, "mine")).toBeUndefined();
    expect((await value.get())?.value).toBe("same");
  });

  test("is updated from what it is, in one round trip when nobody else wrote", async () => {
    const all = await start();
    const value = all.conclave.atomic<string[]>("a");
    const add = (word: string) => (words: readonly string[] | undefined) => [...(words ?? []), word];
    expect((await value.update(add("one"))).value).toEqual(["one"]);
    const updated = await value.update(add("two"));
    expect(await value.get()).toEqual(updated);
    expect(counted(all)).toEqual(["get", "commit", "commit", "get"]);
    await all.rival.atomic<string[]>("a").update(add("three"));
    all.backend.calls.length = 0;
    expect((await value.update(add("four"))).value).toEqual(["one", "two", "three", "four"]);
    expect(counted(all)).toEqual(["commit", "commit"]);
  });

  test("is updated after a pause when others are faster again and again, unless its signal ends that", async () => {
    const all = await start();
    const value = all.conclave.atomic<number>("a");
    await value.set(0);
    let conflicts = 0;
    all.backend.fault = async (call, proceed) => {
      if (puts(call) && ++conflicts < 7) await all.rival.atomic("a").set(conflicts);
      return proceed();
    };
    const before = all.clock.monotonicMs();
    expect((await value.update((n = 0) => n + 10)).value).toBe(16);
    expect(all.clock.monotonicMs()).toBeGreaterThan(before);
    conflicts = -1e9;
    const controller = new AbortController();
    const losing = outcome(value.update((n = 0) => n + 1, { signal: controller.signal }));
    await all.clock.advance(50);
    controller.abort(new Error("enough"));
    await all.clock.advance(1);
    expect(losing.error).toBe(controller.signal.reason);
  });

  test("is never shown to an update as it never was", async () => {
    const all = await start();
    await all.rival.atomic("a").set(7);
    const seen: unknown[] = [];
    await all.conclave.atomic<number>("a").update((n = 0) => {
      seen.push(n);
      return n + 1;
    });
    expect(seen).toEqual([7]);
  });

  test("is updated by all who do so at once, each from what the one before made, without a conflict", async () => {
    const all = await start();
    const value = all.conclave.atomic<number>("a");
    await value.set(0);
    all.backend.calls.length = 0;
    const updates = await Promise.all(Array.from({ length: 10 }, () => value.update((n = 0) => n + 1)));
    expect(updates.map(({ value }) => value)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(counted(all)).toEqual(Array(10).fill("commit"));
  });

  test("passes on what an update throws, and writes nothing", async () => {
    const all = await start();
    const value = all.conclave.atomic<number>("a");
    await value.set(1);
    const failing = () => {
      throw new Error("too few");
    };
    await expect(value.update(failing)).rejects.toThrow("too few");
    expect(await value.get()).toMatchObject({ value: 1 });
    // What is thrown of a value that is out of date does not count.
    await all.rival.atomic("a").set(5);
    const spend = (n = 0) => {
      if (n < 5) throw new Error("too few");
      return n - 5;
    };
    expect((await value.update(spend)).value).toBe(0);
  });

  test.each([
    ["a promise", Promise.resolve(1), /not a promise/],
    ["nothing", undefined, /change of update gives must be something that JSON can carry, not undefined/],
    ["a bigint", 1n, /bigint/],
  ])("refuses %s from an update", async (_, given, message) => {
    const all = await start();
    const update = all.conclave.atomic<Any>("a").update(() => given);
    await expect(update).rejects.toThrow(TypeError);
    await expect(update).rejects.toThrow(message);
    expect(await all.rival.atomic("a").get()).toBeUndefined();
  });

  test("updates once when answers are lost", async () => {
    const all = await start();
    all.backend.fault = losingAnswers(puts, 3);
    const value = all.conclave.atomic<number>("a");
    await value.update((n = 0) => n + 1);
    expect((await value.update((n = 0) => n + 1)).value).toBe(2);
  });

  test("an update that waits for others of its process gives up at once, and holds up nobody", async () => {
    const all = await start();
    const value = all.conclave.atomic<number>("a");
    await value.set(0);
    let away = true;
    all.backend.fault = async (call, proceed) =>
      away && puts(call) ? Promise.reject(failure("OUTCOME_UNKNOWN")) : proceed();
    const first = value.update((n = 0) => n + 1);
    const controller = new AbortController();
    const second = outcome(value.update((n = 0) => n + 10, { signal: controller.signal }));
    const third = value.update((n = 0) => n + 100);
    await all.clock.advance(100);
    controller.abort(new Error("enough"));
    await all.clock.advance(0);
    expect(second.error).toBe(controller.signal.reason);
    away = false;
    expect([(await first).value, (await third).value]).toEqual([1, 101]);
  });

  test("is shown to who watches whenever it is written, and undefined while there is none", async () => {
    const all = await start();
    const value = all.conclave.atomic<string>("a");
    const seen: (Json | undefined)[] = [];
    const watching = (async () => {
      for await (const now of all.rival.atomic("a").watch()) {
        seen.push(now?.value);
        if (now?.value === "last") return;
      }
    })();
    await all.clock.advance(1);
    for (const text of ["one", "one", "two"]) {
      await value.set(text);
      await all.clock.advance(1);
    }
    await value.delete();
    await all.clock.advance(1);
    await put(all.other, "atomic/a/value/beside", "{");
    await all.clock.advance(1);
    await value.set("last");
    await watching;
    expect(seen).toEqual([undefined, "one", "one", "two", undefined, "last"]);
  });

  test("watching ends with its signal, and with the conclave", async () => {
    const all = await start();
    const controller = new AbortController();
    const watch = all.conclave.atomic("a").watch({ signal: controller.signal });
    await watch.next();
    const next = outcome(watch.next());
    controller.abort(new Error("enough"));
    await all.clock.advance(0);
    expect(next.error).toBe(controller.signal.reason);
    const other = all.conclave.atomic("a").watch();
    await other.next();
    const last = outcome(other.next());
    await all.conclave.close();
    expect(last.error).toMatchObject({ code: "CLOSED" });
  });

  test("says so when somebody else wrote what is no JSON, and can be set all the same", async () => {
    const all = await start();
    await put(all.other, "atomic/a/value", "{");
    const value = all.conclave.atomic("a");
    await expect(value.get()).rejects.toMatchObject({ code: "CORRUPT" });
    await expect(value.update(() => 1)).rejects.toMatchObject({ code: "CORRUPT" });
    await expect(value.watch().next()).rejects.toMatchObject({ code: "CORRUPT" });
    await value.set(1);
    expect(await value.get()).toMatchObject({ value: 1 });
    await remove(all.other, "atomic/a/value");
    expect(await value.update((n) => n ?? "none")).toMatchObject({ value: "none" });
  });

  test("is kept as JSON under its name, on no lease", async () => {
    const all = await start();
    await all.conclave.atomic("a/b").set({ text: "é" });
    const entry = await all.other.kv.get("atomic/a%2Fb/value");
    expect([entry && decode(entry.value), entry?.lease]).toEqual(['{"text":"é"}', undefined]);
  });
});
