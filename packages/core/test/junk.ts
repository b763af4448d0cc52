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

export type JunkCall<Given = Conclave> = (given: Given & Any, one: Any, other: Any) => unknown;

export const object = (value: Any) => (typeof value === "object" ? value : {});
export const text = (value: Any) => (typeof value === "function" || value instanceof Uint8Array ? "text" : value);

/**
 * Each of these calls, given junk, must be refused or answered, and write nothing. Those that junk can, by chance, give
 * something right are made to be wrong for sure.
 */
export function describeJunk(calls: Record<string, JunkCall>): void {
  describeJunkOn((conclave) => conclave, calls);
}

/** The same of calls on what a conclave gives: `open` gets it, and after that nothing may change in the store. */
export function describeJunkOn<Given>(
  open: (conclave: Conclave) => Given | Promise<Given>,
  calls: Record<string, JunkCall<Given>>,
): void {
  describe("arbitrary junk, given to", () => {
    test.each(Object.entries(calls))("%s, is refused or answered, and nothing is written", async (_, call) => {
      const clock = new VirtualClock();
      const store = new MemoryStore({ clock });
      const backend = new Faulty(await store.connect());
      const other = await store.connect();
      const given = await open(await connect(backend));
      const state = async () => {
        await clock.advance(0);
        return [(await other.kv.list("")).entries, clock.pendingTimers, backend.count("grant")];
      };
      const before = await state();
      await fc.assert(
        fc.asyncProperty(two, async ([one, other]) => {
          const error = await (async () => call(given, one, other))().then(
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
      expect(await state()).toEqual(before);
    });
  });
}
