import { MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { type Conclave, connect, isCoordinationError } from "@conclave/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Any, Faulty } from "./kit.ts";

const junk = fc.oneof(
  fc.anything({
    withBigInt: true,
    withDate: true,
    withNullPrototype: true,
    withTypedArray: true,
    withSparseArray: true,
  }),
  fc.constantFrom(undefined, null, "", "\0", "\ud800", "a//b", "/", -1, 0, Number.NaN, Infinity, () => {}, Symbol("s")),
  fc.dictionary(
    fc.constantFrom(
      "signal",
      "timeoutMs",
      "value",
      "address",
      "weight",
      "id",
      "prefix",
      "recursive",
      "metadata",
      "limit",
    ),
    fc.anything({ withBigInt: true, maxDepth: 1 }),
  ),
);
/** Two arguments of which at least one cannot be meant. */
const two = fc.tuple(junk, junk);

type Call = (conclave: Conclave & Any, one: Any, other: Any) => unknown;

/** Every public function: those that junk can, by chance, give something right are made to be wrong for sure. */
const calls: Record<string, Call> = {
  "mutex.acquire": (c, one, other) => c.mutex(one).acquire({ ...object(other), wrong: 1 }),
  "mutex.tryAcquire": (c, one, other) => c.mutex(one).tryAcquire({ ...object(other), wrong: 1 }),
  "mutex.run": (c, one, other) => c.mutex("a").run(text(one), other),
  "mutex.queue": (c, one, other) => c.mutex(one).queue(other),
  "election.campaign": (c, one, other) => c.election(one).campaign({ ...object(other), wrong: 1 }),
  "election.run": (c, one, other) => c.election("a").run(text(one), other),
  "election.leader": (c, one, other) => c.election(one).leader(other),
  "election.observe": (c, one, other) =>
    c
      .election("a")
      .observe({ [String(typeof one)]: other })
      .next(),
  "service.register": (c, one, other) => c.service(one).register({ ...object(other), address: undefined }),
  "service.instances": (c, one, other) => c.service(one).instances({ ...object(other), wrong: 1 }),
  "kv.get": (c, one, other) => c.kv.get(one, other),
  "kv.list": (c, one, other) => c.kv.list(one, other),
  "kv.commit": (c, one, other) => c.kv.commit({ if: [one], then: [{ put: "a", value: text(other) }] }),
  "kv.commit of anything": (c, one, other) => c.kv.commit({ if: one, then: other, else: one }),
  "kv.commit with anything": (c, one, other) => c.kv.commit({ then: [one, { touch: other }] }, other),
  "backend.watch": (c, one, other) => c.backend.watches.watch(one, { ...object(other), wrong: 1 }),
  "backend.grant": (c, one, other) => c.backend.leases.grant({ ttlMs: one, wrong: other }),
  session: (c, one, other) => c.session({ [String(typeof one)]: other }),
  connect: (_, one, other) => connect(one, other),
};

const object = (value: Any) => (typeof value === "object" ? value : {});
const text = (value: Any) => (typeof value === "function" || value instanceof Uint8Array ? "text" : value);

describe("arbitrary junk, given to", () => {
  test.each(Object.entries(calls))("%s, is refused or answered, and nothing is written", async (_, call) => {
    const clock = new VirtualClock();
    const store = new MemoryStore({ clock });
    const backend = new Faulty(await store.connect());
    const conclave = await connect(backend);
    await fc.assert(
      fc.asyncProperty(two, async ([one, other]) => {
        const error = await (async () => call(conclave, one, other))().then(
          () => undefined,
          (reason: unknown) => reason,
        );
        if (error !== undefined) {
          const meant = error instanceof TypeError || error instanceof RangeError || isCoordinationError(error);
          expect(meant, String(error)).toBe(true);
        }
      }),
      { numRuns: 1_000 },
    );
    await clock.advance(0);
    const { entries } = await store.connect().then((other) => other.kv.list(""));
    expect([entries, clock.pendingTimers, backend.count("grant")]).toEqual([[], 0, 0]);
  });
});
