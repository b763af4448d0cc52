import { type Conclave, connect } from "@conclave/core";
import { WatchFeed } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { describeJunk, object } from "./junk.ts";
import { type Any, failure, outcome, put, remove, world } from "./kit.ts";

async function connected(options: Parameters<typeof world>[0] = {}) {
  const here = await world(options);
  return { ...here, conclave: await connect(here.backend) };
}

describe("a replica", () => {
  test("answers from memory, by key and by prefix, in the store's own order", async () => {
    const { clock, backend, other, conclave } = await connected();
    for (const key of ["p/b/2", "p/a", "p/b/1", "q/x"]) await put(other, key, key);
    await using replica = await conclave.replica("p/");
    const before = backend.calls.length;
    expect(replica.list().map(({ key }) => key)).toEqual(["p/a", "p/b/1", "p/b/2"]);
    expect(replica.list("p/b/").map(({ key }) => key)).toEqual(["p/b/1", "p/b/2"]);
    expect([replica.get("p/a")?.key, replica.get("p/none"), replica.entries.size]).toEqual(["p/a", undefined, 3]);
    expect(replica.list()).toEqual((await other.kv.list("p/")).entries);
    expect(backend.calls.length).toBe(before);
    await remove(other, "p/a");
    await clock.advance(0);
    expect([replica.get("p/a"), replica.entries.size, replica.stale]).toEqual([undefined, 2, false]);
  });

  test("of the empty prefix is of the whole namespace, and knows nothing outside", async () => {
    const { backend, other } = await world();
    const conclave = await connect(backend, { namespace: "mine" });
    await put(other, "mine/a");
    await put(other, "theirs/a");
    await using replica = await conclave.replica("");
    expect(replica.list().map(({ key }) => key)).toEqual(["a"]);
  });

  test("is where a writer reads its own write, as soon as it has reached its revision", async () => {
    for (const mode of ["strong", "weak"] as const) {
      for (let seed = 1; seed <= 10; seed++) {
        const { clock, other, conclave } = await connected({ mode, seed });
        const replica = await conclave.replica("p/");
        const { revision } = await other.kv.commit({ then: [{ put: "p/a", value: new Uint8Array([seed]) }] });
        const reaching = outcome(replica.reached(revision));
        await clock.advance(1_000);
        expect(reaching.value?.entries.get("p/a")?.value).toEqual(new Uint8Array([seed]));
        expect(reaching.value?.revision).toBeGreaterThanOrEqual(revision);
        await replica[Symbol.asyncDispose]();
        expect(clock.pendingTimers).toBe(0);
      }
    }
  });

  test("reaches the revision of a write elsewhere with one read, and shows readers nothing for it", async () => {
    const { clock, backend, other, conclave } = await connected();
    await using replica = await conclave.replica("p/");
    let views = 0;
    void (async () => {
      for await (const _ of replica) views += 1;
    })();
    const { revision } = await other.kv.commit({ then: [{ put: "q/a", value: new Uint8Array() }] });
    const before = backend.count("list");
    const reaching = outcome(replica.reached(revision));
    await clock.advance(99);
    expect(reaching.settled).toBe(false);
    await clock.advance(1);
    expect([reaching.settled, backend.count("list") - before, views]).toEqual([true, 1, 1]);
    expect(replica.revision).toBeGreaterThanOrEqual(revision);
    expect(await outcome(replica.reached(revision))).toBeDefined();
    expect(backend.count("list") - before).toBe(1);
  });

  test("waits through an outage to reach a revision", async () => {
    const { clock, client, other, conclave } = await connected();
    await using replica = await conclave.replica("p/");
    client.disconnect();
    const { revision } = await other.kv.commit({ then: [{ put: "p/a", value: new Uint8Array() }] });
    const reaching = outcome(replica.reached(revision));
    await clock.advance(20_000);
    expect([reaching.settled, replica.stale]).toEqual([false, true]);
    client.reconnect();
    await clock.advance(2_000);
    expect(reaching.value?.entries.size).toBe(1);
  });

  test("gives up reaching when told to, when it is disposed, and when the conclave closes", async () => {
    const { clock, conclave } = await connected();
    const [one, two] = [await conclave.replica("p/"), await conclave.replica("p/")];
    const controller = new AbortController();
    const waits = [
      outcome(one.reached(10n ** 18n, { signal: controller.signal })),
      outcome(one.reached(10n ** 18n)),
      outcome(two.reached(10n ** 18n)),
    ];
    await clock.advance(1_000);
    controller.abort("enough");
    await one[Symbol.asyncDispose]();
    await conclave.close();
    await clock.advance(0);
    expect(waits.map(({ error }) => error)).toEqual([
      "enough",
      expect.objectContaining({ code: "CLOSED", message: "the replica was disposed" }),
      expect.objectContaining({ code: "CLOSED", message: "the conclave was closed" }),
    ]);
    expect([two.stale, clock.pendingTimers]).toEqual([true, 0]);
    await expect(one.reached(1n)).rejects.toMatchObject({ code: "CLOSED" });
    await expect(conclave.replica("p/")).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("lets a reader that ended once go, and rejects the others, when the store refuses it for good", async () => {
    const { clock, backend, conclave } = await connected();
    const feed = new WatchFeed(() => {});
    backend.fault = async ({ name }, proceed) => (name === "watch" ? feed : proceed());
    const replica = await conclave.replica("p/");
    const reading = outcome(
      (async () => {
        for await (const _ of replica);
      })(),
    );
    feed.fail(failure("DENIED"));
    await clock.advance(0);
    expect(reading.error).toMatchObject({ code: "DENIED" });
    await replica[Symbol.asyncDispose]();
    await expect(replica.reached(10n ** 18n)).rejects.toMatchObject({ code: "DENIED" });
  });
});

const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  ["no prefix", (c) => c.replica(), TypeError, /prefix of the replica must be a string, not undefined/],
  ["a prefix with NUL", (c) => c.replica("\0"), RangeError, /prefix of the replica must be text without NUL/],
  [
    "a prefix too long",
    (c) => c.replica("x".repeat(513)),
    RangeError,
    /prefix of the replica must be at most 512 bytes/,
  ],
  ["an unknown option", (c) => c.replica("p/", { recursive: true }), TypeError, /replica has no option "recursive"/],
  ["a key outside", async (c) => (await c.replica("p/")).get("q/a"), RangeError, /key of get must be one that.*"p\/"/],
  ["a key that is none", async (c) => (await c.replica("p/")).get(5), TypeError, /key of get must be a string, not 5/],
  ["a prefix outside", async (c) => (await c.replica("p/")).list("p"), RangeError, /prefix of list must be one that/],
  [
    "a revision that is a number",
    async (c) => (await c.replica("")).reached(1),
    TypeError,
    /revision of reached.*bigint/,
  ],
  [
    "an option of reached",
    async (c) => (await c.replica("")).reached(1n, { ms: 1 }),
    TypeError,
    /reached has no option/,
  ],
];

describe("what makes no sense is refused with the reason:", () => {
  test.each(wrong)("%s", async (_, call, type, message) => {
    const conclave = await connect((await world()).backend);
    const error = await (async () => call(conclave))().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(type);
    expect(String(error)).toMatch(message);
    await conclave.close();
  });
});

describeJunk({
  replica: (c, one, other) => c.replica(one, { ...object(other), wrong: 1 }),
  "replica.get": async (c, one) => {
    await using replica = await c.replica("p/");
    return replica.get(one);
  },
  "replica.list": async (c, one) => {
    await using replica = await c.replica("p/");
    return replica.list(one);
  },
  "replica.reached": async (c, one, other) => {
    await using replica = await c.replica("p/");
    return await replica.reached(one, { ...object(other), wrong: 1 });
  },
});
