import { type MemoryBackend, MemoryStore, memory, VirtualClock } from "@conclave/backend-memory";
import { type Clock, decode, encode, systemClock, type Watch, type WatchBatch } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";

const put = (backend: MemoryBackend, key: string, value = "") =>
  backend.kv.commit({ then: [{ put: key, value: encode(value) }] });

const read = async (backend: MemoryBackend, key: string) => {
  const entry = await backend.kv.get(key);
  return entry && decode(entry.value);
};

/** Collects what a watch shows, for as long as the test lasts. */
function collect(watch: Watch): { readonly batches: WatchBatch[]; readonly end: Promise<unknown> } {
  const batches: WatchBatch[] = [];
  const end = (async () => {
    for await (const batch of watch) batches.push(batch);
  })().catch((error: unknown) => error);
  return { batches, end };
}

const shown = (batches: readonly WatchBatch[]) =>
  batches.map((batch) =>
    "gap" in batch
      ? "gap"
      : batch.changes.map(({ key, entry }) => (entry ? `${key}=${decode(entry.value)}` : `-${key}`)).join(" "),
  );

describe("a memory store", () => {
  test("shows every client what any client wrote, one revision a writing commit", async () => {
    const store = MemoryStore.virtual();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const first = await put(alice, "a", "1");
    const second = await put(bob, "b", "2");
    const looked = await bob.kv.commit({ then: [{ get: "a" }, { delete: "nothing" }] });
    expect([second.revision - first.revision, looked.revision - second.revision]).toEqual([1n, 0n]);
    expect([await read(bob, "a"), await read(alice, "b")]).toEqual(["1", "2"]);
    await expect((await memory().connect()).kv.get("a")).resolves.toBeUndefined();
  });

  test("keeps bytes of its own: neither what was passed in nor what was given out is shared", async () => {
    const store = MemoryStore.virtual();
    const backend = await store.connect();
    const watched = collect(await backend.watches.watch({ prefix: "" }));
    const other = collect(await backend.watches.watch({ prefix: "" }));
    const bytes = Buffer.from("before");
    const written = backend.kv.commit({ then: [{ put: "a", value: bytes }, { get: "a" }, { list: "" }] });
    bytes.fill("x"); // before the store has even taken it
    const { results } = await written;
    await store.advance(0);
    const given = [
      results[1],
      results[2]?.entries[0],
      await backend.kv.get("a"),
      (await backend.kv.list("")).entries[0],
      ...watched.batches.flatMap((batch) => ("gap" in batch ? [] : batch.changes.map(({ entry }) => entry))),
    ] as { value: Uint8Array }[];
    expect(given).toHaveLength(5);
    for (const { value } of given) value.fill(0);
    expect(await read(backend, "a")).toBe("before");
    expect(shown(other.batches)).toEqual(["a=before"]);
  });

  test("orders keys by their UTF-8 bytes, where JavaScript would not", async () => {
    const backend = await MemoryStore.virtual().connect();
    const keys = ["\u{ff5e}", "\u{1f600}", "a", "\u{e000}", "a!", "\u{e9}", "ab"];
    for (const key of keys) await put(backend, key);
    const byBytes = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect([...keys].sort()).not.toEqual(byBytes);
    const { entries } = await backend.kv.list("");
    expect(entries.map(({ key }) => key)).toEqual(byBytes);
    const after = await backend.kv.list("", { startAfter: "\u{ff5e}" });
    expect(after.entries.map(({ key }) => key)).toEqual(["\u{1f600}"]);
  });

  test("pages through a prefix whatever the page begins after", async () => {
    const backend = await MemoryStore.virtual().connect();
    for (const key of ["a", "p/1", "p/2", "p/3", "q"]) await put(backend, key);
    const page = async (startAfter: string) =>
      (await backend.kv.list("p/", { startAfter, keysOnly: true })).entries.map(({ key }) => key).join(" ");
    expect(await page("")).toBe("p/1 p/2 p/3");
    expect(await page("a")).toBe("p/1 p/2 p/3");
    expect(await page("p/1")).toBe("p/2 p/3");
    expect(await page("p/15")).toBe("p/2 p/3");
    expect(await page("p/3")).toBe("");
    expect(await page("z")).toBe("");
  });

  test("takes a lease's keys at exactly its time to live, in one revision, though nobody calls", async () => {
    const store = MemoryStore.virtual();
    const backend = await store.connect();
    const lease = await backend.leases.grant({ ttlMs: 1_000 });
    const value = encode("");
    await backend.kv.commit({ then: ["b", "a", "c"].map((key) => ({ put: key, value, lease })) });
    await put(backend, "c"); // comes off the lease
    const watched = collect(await backend.watches.watch({ prefix: "" }));
    await store.advance(400);
    await lease.keepAlive();
    await store.advance(999);
    expect(watched.batches).toEqual([]);
    await store.advance(1);
    expect(shown(watched.batches)).toEqual(["-a -b"]);
    await expect(lease.keepAlive()).rejects.toMatchObject({ code: "LEASE_LOST" });
    const dead = backend.kv.commit({
      then: [
        { put: "z", value },
        { put: "d", value, lease },
      ],
    });
    await expect(dead).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect((await backend.kv.list("")).entries.map(({ key }) => key)).toEqual(["c"]);
  });

  test("never shows a key whose time is over, even when every timer is late", async () => {
    let nowMs = 0;
    const frozen: Clock = { ...systemClock, monotonicMs: () => nowMs, after: () => ({ [Symbol.dispose]() {} }) };
    const backend = await new MemoryStore({ clock: frozen }).connect();
    const lease = await backend.leases.grant({ ttlMs: 10 });
    await backend.kv.commit({ then: [{ put: "a", value: encode(""), lease }] });
    nowMs = 9.9;
    expect(await read(backend, "a")).toBe("");
    nowMs = 10;
    expect(await read(backend, "a")).toBeUndefined();
  });

  test("takes leases that expired while nobody called in the order of their expiry, each at a revision of its own", async () => {
    const store = MemoryStore.virtual();
    const [backend, watcher] = [await store.connect(), await store.connect()];
    const value = encode("");
    for (const [key, ttlMs] of Object.entries({ last: 30, first: 10, second: 20 })) {
      const lease = await backend.leases.grant({ ttlMs });
      await backend.kv.commit({ then: [{ put: key, value, lease }] });
    }
    const watched = collect(await watcher.watches.watch({ prefix: "" }));
    backend.disconnect();
    watcher.disconnect();
    await store.advance(1_000);
    watcher.reconnect();
    await store.advance(0);
    expect(shown(watched.batches)).toEqual(["-first", "-second", "-last"]);
  });

  test("refuses a lease that another client was granted", async () => {
    const store = MemoryStore.virtual();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const lease = await alice.leases.grant({ ttlMs: 1_000 });
    await expect(bob.kv.commit({ then: [{ put: "a", value: encode(""), lease }] })).rejects.toThrow(TypeError);
  });

  test("runs on the machine's own clock when not told otherwise", async () => {
    const store = memory();
    await using backend = await store.connect();
    const lease = await backend.leases.grant({ ttlMs: 20 });
    const watched = await backend.watches.watch({ key: "a" });
    await backend.kv.commit({ then: [{ put: "a", value: encode(""), lease }] });
    const batches: WatchBatch[] = [];
    for await (const batch of watched) if (batches.push(batch) === 2) break;
    expect(shown(batches)).toEqual(["a=", "-a"]);
    await expect(store.advance(1)).rejects.toThrow("virtual clock");
  });

  test("expires leases on time even when its timers are early", async () => {
    const clock = new VirtualClock();
    const hasty: Clock = {
      ...systemClock,
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, callback) => clock.after(delayMs > 1 ? delayMs - 1 : delayMs, callback),
    };
    const backend = await new MemoryStore({ clock: hasty }).connect();
    const lease = await backend.leases.grant({ ttlMs: 10 });
    await backend.kv.commit({ then: [{ put: "a", value: encode(""), lease }] });
    const watched = collect(await backend.watches.watch({ key: "a" }));
    await clock.advance(9.5);
    expect(watched.batches).toEqual([]);
    await clock.advance(0.5);
    expect(shown(watched.batches)).toEqual(["-a"]);
  });

  test("lets timers run while a program looks again and again without a pause", async () => {
    const backend = await memory().connect();
    setTimeout(() => void put(backend, "done"), 1);
    while ((await backend.kv.get("done")) === undefined);
  });

  test("rejects a call that is aborted before it was sent, and answers one that was sent", async () => {
    const backend = await MemoryStore.virtual().connect();
    const controller = new AbortController();
    const unsent = backend.kv.commit({ then: [{ put: "a", value: encode("") }] }, { signal: controller.signal });
    controller.abort(new Error("no more"));
    await expect(unsent).rejects.toThrow("no more");
    expect(await backend.kv.get("a")).toBeUndefined();
    const later = new AbortController();
    const sent = backend.kv.commit({ then: [{ put: "a", value: encode("1") }] }, { signal: later.signal });
    await undefined;
    later.abort(new Error("too late"));
    await expect(sent).resolves.toMatchObject({ succeeded: true });
    await expect(MemoryStore.virtual().connect({ signal: controller.signal })).rejects.toThrow("no more");
  });
});

describe("a client that disconnects", () => {
  test("has its calls refused with nothing applied, and works again once reconnected", async () => {
    const store = MemoryStore.virtual();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const lease = await alice.leases.grant({ ttlMs: 60_000 });
    const onTheWay = put(alice, "a");
    alice.disconnect();
    const unavailable = { code: "UNAVAILABLE" };
    await expect(onTheWay).rejects.toMatchObject(unavailable);
    await expect(put(alice, "a")).rejects.toMatchObject(unavailable);
    await expect(alice.kv.get("a")).rejects.toMatchObject(unavailable);
    await expect(alice.leases.grant({ ttlMs: 1 })).rejects.toMatchObject(unavailable);
    await expect(alice.watches.watch({ key: "a" })).rejects.toMatchObject(unavailable);
    await expect(lease.keepAlive()).rejects.toMatchObject(unavailable);
    await expect(lease.revoke()).rejects.toMatchObject(unavailable);
    expect(await bob.kv.get("a")).toBeUndefined();
    alice.reconnect();
    await put(alice, "a", "1");
    await lease.keepAlive();
    expect(await read(bob, "a")).toBe("1");
  });

  test("loses its lease for the others to see", async () => {
    const store = MemoryStore.virtual();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const lease = await alice.leases.grant({ ttlMs: 1_000 });
    await alice.kv.commit({ then: [{ put: "a", value: encode(""), lease }] });
    const seen = collect(await bob.watches.watch({ key: "a" }));
    alice.disconnect();
    await store.advance(1_000);
    expect(shown(seen.batches)).toEqual(["-a"]);
    alice.reconnect();
    await expect(lease.keepAlive()).rejects.toMatchObject({ code: "LEASE_LOST" });
  });

  test("is shown what its watches missed, each revision once, when it reconnects", async () => {
    const store = MemoryStore.virtual();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const watched = collect(await alice.watches.watch({ prefix: "p/" }));
    await put(bob, "p/a", "1");
    alice.disconnect();
    await put(bob, "p/a", "2");
    await put(bob, "elsewhere");
    await bob.kv.commit({ then: [{ put: "p/b", value: encode("3") }, { delete: "p/a" }] });
    await store.advance(0);
    expect(shown(watched.batches)).toEqual(["p/a=1"]);
    alice.reconnect();
    alice.reconnect();
    await put(bob, "p/a", "4");
    await store.advance(0);
    expect(shown(watched.batches)).toEqual(["p/a=1", "p/a=2", "p/b=3 -p/a", "p/a=4"]);
  });

  test("is told of a gap when it missed more than the store remembers", async () => {
    const store = MemoryStore.virtual();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const watched = collect(await alice.watches.watch({ key: "a" }));
    alice.disconnect();
    for (let count = 0; count < 5_000; count += 1) await put(bob, "elsewhere");
    alice.reconnect();
    await put(bob, "a", "1");
    await store.advance(0);
    expect(shown(watched.batches)).toEqual(["gap", "a=1"]);
  });

  test("is not told of a gap for changes elsewhere while it was connected", async () => {
    const store = MemoryStore.virtual();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const watched = collect(await alice.watches.watch({ key: "a" }));
    for (let count = 0; count < 5_000; count += 1) await put(bob, "elsewhere");
    alice.disconnect();
    alice.reconnect();
    await put(bob, "a", "1");
    await store.advance(0);
    expect(shown(watched.batches)).toEqual(["a=1"]);
  });
});

describe("closing a client", () => {
  test("ends its watches with CLOSED and leaves its leases to expire, as a process that ends does", async () => {
    const store = MemoryStore.virtual();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const lease = await alice.leases.grant({ ttlMs: 1_000 });
    await alice.kv.commit({ then: [{ put: "a", value: encode("1"), lease }] });
    const own = collect(await alice.watches.watch({ key: "a" }));
    const other = collect(await bob.watches.watch({ key: "a" }));
    const onTheWay = put(alice, "b");
    await alice[Symbol.asyncDispose]();
    await expect(onTheWay).rejects.toMatchObject({ code: "CLOSED" });
    expect(await own.end).toMatchObject({ code: "CLOSED" });
    expect(await read(bob, "a")).toBe("1");
    await store.advance(1_000);
    expect(shown(other.batches)).toEqual(["-a"]);
    alice.reconnect();
    await expect(alice.kv.get("a")).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("leaves no timer once nobody is connected, and one for the leases of the closed as long as someone is", async () => {
    const clock = new VirtualClock();
    const store = new MemoryStore({ clock });
    const [alice, bob] = [await store.connect(), await store.connect()];
    const lease = await alice.leases.grant({ ttlMs: 1_000 });
    const brief = await alice.leases.grant({ ttlMs: 500 });
    await alice.kv.commit({ then: [{ put: "a", value: encode(""), lease }] });
    await alice[Symbol.asyncDispose]();
    expect(clock.pendingTimers).toBe(1);
    bob.disconnect();
    expect(clock.pendingTimers).toBe(0);
    bob.reconnect();
    bob.reconnect();
    expect(clock.pendingTimers).toBe(1);
    await bob[Symbol.asyncDispose]();
    bob.reconnect();
    expect([clock.pendingTimers, brief.ttlMs]).toEqual([0, 500]);
    await clock.advance(1_000);
    const carol = await store.connect();
    expect([await carol.kv.get("a"), clock.pendingTimers]).toEqual([undefined, 0]);
  });

  test("leaves no timer for a lease that was revoked", async () => {
    const clock = new VirtualClock();
    const backend = await new MemoryStore({ clock }).connect();
    const lease = await backend.leases.grant({ ttlMs: 1_000 });
    await lease.revoke();
    await lease.revoke();
    expect(clock.pendingTimers).toBe(0);
  });
});

test("time that passes by itself waits for a program that makes many thousand calls", async () => {
  const clock = new VirtualClock();
  const client = await new MemoryStore({ clock }).connect();
  let rang = false;
  clock.after(60_000, () => {
    rang = true;
  });
  using _ = clock.play();
  for (let call = 0; call < 8_000; call++) await client.kv.get("key");
  expect(rang).toBe(false);
  expect(clock.monotonicMs()).toBe(0);
});
