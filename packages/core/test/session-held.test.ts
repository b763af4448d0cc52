import { type Entry, encode, sleep, type Txn } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { Session } from "../src/session.ts";
import { deletes, failure, keys, losingAnswers, put, puts, remove, type World, world } from "./kit.ts";

const ttlMs = 9_000;
const intervalMs = ttlMs / 3;

async function holding(on: World, ...names: readonly string[]) {
  const session = await Session.open(on.backend, { ttlMs });
  const lost: { readonly key: string; readonly code: string }[] = [];
  for (const key of names) {
    await put(on.backend, key, "", session.lease);
    const { created } = (await on.other.kv.get(key)) as Entry;
    session.watchOver({ key, created, lost: ({ code }) => lost.push({ key, code }) });
  }
  return { session, lost };
}

describe("what a session holds is lost within one renewal interval", () => {
  test("when an operator deletes the key, and nothing else is", async () => {
    const here = await world();
    const { session, lost } = await holding(here, "a", "b");
    await here.clock.advance(4 * ttlMs + 1);
    await remove(here.other, "a");
    expect(lost).toEqual([]);
    await here.clock.advance(intervalMs);
    expect(lost).toEqual([{ key: "a", code: "LEASE_LOST" }]);
    await here.clock.advance(ttlMs);
    expect([lost.length, session.isAlive()]).toEqual([1, true]);
  });

  test("when the key was deleted and created anew on the same lease", async () => {
    const here = await world();
    const { session, lost } = await holding(here, "a");
    await remove(here.other, "a");
    await put(here.backend, "a", "", session.lease);
    await here.clock.advance(intervalMs);
    expect(lost).toEqual([{ key: "a", code: "LEASE_LOST" }]);
  });

  test("when the key went to another lease, or to none, and kept its incarnation", async () => {
    const here = await world();
    const { lost } = await holding(here, "a", "b");
    await put(here.other, "a", "", await here.other.leases.grant({ ttlMs: 60_000 }));
    await put(here.other, "b");
    await here.clock.advance(intervalMs);
    expect(lost.map(({ key }) => key)).toEqual(["a", "b"]);
  });

  test("when a faulty store acknowledges renewals of a lease whose keys it dropped", async () => {
    const here = await world();
    const { session, lost } = await holding(here, "a");
    await session.lease.revoke();
    here.backend.fault = async ({ name }, proceed) => (name === "keepAlive" ? ttlMs : proceed());
    await here.clock.advance(intervalMs);
    expect(lost).toEqual([{ key: "a", code: "LEASE_LOST" }]);
    expect(session.isAlive()).toBe(true);
  });

  test("among hundreds of others, which are checked a hundred at a time", async () => {
    const here = await world();
    const names = Array.from({ length: 250 }, (_, index) => `held/${index}`);
    const { lost } = await holding(here, ...names);
    for (const key of ["held/0", "held/99", "held/100", "held/249"]) await remove(here.other, key);
    here.backend.calls.length = 0;
    await here.clock.advance(intervalMs);
    expect(lost.map(({ key }) => key).sort()).toEqual(["held/0", "held/100", "held/249", "held/99"]);
    const sizes = here.backend.calls.flatMap(({ name, argument }) =>
      name === "commit" ? [(argument as Txn).then.length] : [],
    );
    expect(sizes).toEqual([100, 100, 50]);
  });

  test("while many keys wait to be cleaned up in a store that is slow", async () => {
    const here = await world();
    const { session, lost } = await holding(here, "a");
    for (let index = 0; index < 20; index++) await session.discard([`away-${index}`]);
    here.backend.fault = async ({ name }, proceed) => {
      if (name === "get") await sleep(here.clock, 1_000);
      return proceed();
    };
    await remove(here.other, "a");
    await here.clock.advance(intervalMs + 1);
    expect(lost).toEqual([{ key: "a", code: "LEASE_LOST" }]);
  });
});

describe("what a session holds", () => {
  test("is not lost by a check that fails, nor when it was let go while the check was under way", async () => {
    const here = await world();
    const { session, lost } = await holding(here, "a");
    const { created } = (await here.other.kv.get("a")) as Entry;
    const grip = session.watchOver({ key: "gone", created, lost: () => lost.push({ key: "gone", code: "wrongly" }) });
    here.backend.fault = async ({ name }, proceed) => {
      const answer = await proceed();
      if (name === "commit") {
        grip[Symbol.dispose]();
        throw failure("UNAVAILABLE");
      }
      return answer;
    };
    await here.clock.advance(ttlMs);
    here.backend.fault = (_, proceed) => proceed();
    await here.clock.advance(ttlMs);
    expect(lost).toEqual([]);
  });

  test("is lost with the session, each key once, and nothing can be added after", async () => {
    const here = await world();
    const { session, lost } = await holding(here, "a", "b");
    here.client.disconnect();
    await here.clock.advance(3 * ttlMs);
    expect(lost).toEqual([
      { key: "a", code: "LEASE_LOST" },
      { key: "b", code: "LEASE_LOST" },
    ]);
    expect(() => session.watchOver({ key: "c", created: 1n, lost: () => {} })).toThrow(session.signal.reason);
  });
});

describe("a key that a session discards", () => {
  test("is looked for once more when the time to live passed during a look", async () => {
    const here = await world();
    await using session = await Session.open(here.backend, { ttlMs });
    await session.discard(["late"]);
    here.backend.fault = async (call, proceed) => {
      const answer = await proceed();
      if (call.name === "commit" && here.clock.monotonicMs() > 2.5 * intervalMs) {
        here.backend.fault = (_, proceed) => proceed();
        await put(here.client, "late", "", session.lease);
        await sleep(here.clock, intervalMs / 2);
      }
      return answer;
    };
    await here.clock.advance(2 * ttlMs);
    expect(await keys(here.other)).toEqual([]);
  });

  test("goes with the first attempt, if it is that incarnation", async () => {
    const here = await world();
    const { session } = await holding(here, "a", "b");
    const { created } = (await here.other.kv.get("a")) as Entry;
    await session.discard(["a"], created);
    await session.discard(["b"], created);
    expect(await keys(here.other)).toEqual(["b"]);
    here.backend.calls.length = 0;
    await here.clock.advance(ttlMs);
    expect(here.backend.calls.filter(deletes)).toEqual([]);
  });

  test("goes after an outage, with the next renewal", async () => {
    const here = await world();
    const { session } = await holding(here, "a");
    const { created } = (await here.other.kv.get("a")) as Entry;
    here.client.disconnect();
    await session.discard(["a"], created);
    await here.clock.advance(intervalMs);
    here.client.reconnect();
    await here.clock.advance(intervalMs);
    expect([await keys(here.other), session.isAlive()]).toEqual([[], true]);
  });

  test("goes though the answer to its delete was lost, and is not deleted twice when it was created anew", async () => {
    const here = await world();
    const { session } = await holding(here, "a");
    const { created } = (await here.other.kv.get("a")) as Entry;
    here.backend.fault = losingAnswers(deletes);
    await session.discard(["a"], created);
    await put(here.other, "a", "another's");
    await here.clock.advance(ttlMs);
    expect(await keys(here.other)).toEqual(["a"]);
  });

  test("goes though its put, of unknown outcome, arrives long after", async () => {
    const here = await world();
    const { session } = await holding(here);
    await session.discard(["late"]);
    await here.clock.advance(ttlMs / 2);
    await put(here.backend, "late", "", session.lease);
    await here.clock.advance(intervalMs);
    expect(await keys(here.other)).toEqual([]);
  });

  test("is looked for until one time to live has passed, and then no more", async () => {
    const here = await world();
    const { session } = await holding(here);
    await session.discard(["never"]);
    await here.clock.advance(ttlMs + intervalMs);
    expect(here.backend.count("commit")).toBeGreaterThan(3);
    here.backend.calls.length = 0;
    await here.clock.advance(3 * ttlMs);
    expect(here.backend.count("commit")).toBe(0);
  });

  test("stays where another's lease, or none, holds it by then", async () => {
    const here = await world();
    const { session } = await holding(here, "theirs");
    await put(here.other, "theirs", "taken over", await here.other.leases.grant({ ttlMs: 60_000 }));
    await session.discard(["theirs"]);
    await here.clock.advance(ttlMs);
    expect(await keys(here.other)).toEqual(["theirs"]);
  });

  test("is not looked for for ever when the store refuses its very name", async () => {
    const here = await world();
    const { session } = await holding(here);
    await session.discard(["x".repeat(600)]);
    await here.clock.advance(ttlMs + intervalMs);
    here.backend.calls.length = 0;
    await here.clock.advance(3 * ttlMs);
    expect(here.backend.count("commit")).toBe(0);
  });
});

test("a commit that a session's check makes writes nothing", async () => {
  const here = await world();
  await holding(here, "a");
  here.backend.calls.length = 0;
  const { revision } = await here.other.kv.list("");
  await here.clock.advance(5 * ttlMs);
  expect(here.backend.calls.some((call) => puts(call) || deletes(call))).toBe(false);
  expect((await here.other.kv.list("")).revision).toBe(revision);
  expect((await here.other.kv.get("a"))?.value).toEqual(encode(""));
});

describe("a session", () => {
  test("checks what is held without reading what it says", async () => {
    const { clock, backend, client } = await world();
    const session = await Session.open(backend, { ttlMs: 9_000 });
    const value = encode("x".repeat(100_000));
    const written = await client.kv.commit({ then: [{ put: "held", value, lease: session.lease }, { get: "held" }] });
    const created = written.succeeded ? (written.results[1]?.created ?? 0n) : 0n;
    const lost: unknown[] = [];
    session.watchOver({ key: "held", created, lost: (reason) => void lost.push(reason) });
    const read: unknown[] = [];
    backend.fault = async ({ name }, proceed) => {
      const answer = await proceed();
      if (name === "commit") read.push(...(answer as { results: unknown[] }).results);
      return answer;
    };
    await clock.advance(4_000);
    expect(read).toMatchObject([{ entries: [{ key: "held", value: encode("") }] }]);
    expect(lost).toEqual([]);
    await client.kv.commit({ then: [{ delete: "held" }, { put: "held-by-another", value: encode("") }] });
    await clock.advance(4_000);
    expect(lost).toMatchObject([{ code: "LEASE_LOST" }]);
  });
});
