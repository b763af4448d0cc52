import type { Entry } from "@conclave/core/backend";
import fc from "fast-check";
import { expect, test } from "vitest";
import { EntryMap } from "../src/entry-map.ts";

const entry = (key: string, modified: number): Entry => ({
  key,
  value: new Uint8Array(),
  created: 1n,
  modified: BigInt(modified),
  lease: undefined,
});
const step = fc.tuple(fc.integer({ min: 0, max: 60 }), fc.boolean());

test("what changed since an earlier map is what makes the one of the other", () => {
  let changed = 0;
  fc.assert(
    fc.property(fc.array(step, { size: "max", maxLength: 80 }), fc.array(step, { maxLength: 20 }), (first, then) => {
      const apply = (map: EntryMap, steps: [number, boolean][], at: number) =>
        steps.reduce(
          (now, [key, put], index) => (put ? now.with(entry(`k${key}`, at + index)) : now.without(`k${key}`)),
          map,
        );
      const before = apply(EntryMap.of([], Math.random), first, 0);
      const now = apply(before, then, 1_000);
      const changes = now.since(before);
      const folded = new Map([...before].map(([key, { modified }]) => [key, modified]));
      for (const [key, one] of changes) {
        expect(one?.modified).not.toBe(folded.get(key));
        if (one) folded.set(key, one.modified);
        else folded.delete(key);
      }
      changed += changes.size;
      expect(folded).toEqual(new Map([...now].map(([key, { modified }]) => [key, modified])));
      expect(now.since(now).size).toBe(0);
    }),
  );
  expect(changed).toBeGreaterThan(100);
});

test("to find what changed takes no longer in a large map", () => {
  const large = EntryMap.of(
    Array.from({ length: 20_000 }, (_, index) => entry(`k${index}`, index)),
    Math.random,
  );
  let now = large;
  const startedAt = performance.now();
  for (let index = 0; index < 2_000; index++) {
    const next = now.with(entry(`k${7 * index}`, 30_000 + index)).without(`k${7 * index + 1}`);
    expect(next.since(now).size).toBe(2);
    now = next;
  }
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});
