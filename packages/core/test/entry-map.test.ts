import { compareKeys, type Entry, encode } from "@conclave/core/backend";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EntryMap } from "../src/entry-map.ts";

const entryOf = (key: string, modified: number): Entry => ({
  key,
  value: encode(`${modified}`),
  created: 1n,
  modified: BigInt(modified),
  lease: undefined,
});

const key = fc.oneof(
  fc.string({ unit: fc.constantFrom("a", "b", "/"), maxLength: 3 }),
  fc.constantFrom("a\uffff", "a\u{10000}", "\ue000"),
);
const step = fc.record({ key, put: fc.boolean() });

describe("a map of entries", () => {
  test("is at every step what a sorted Map would be, and no later step changes it", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), key, (steps, prefix) => {
        const model = new Map<string, Entry>();
        const versions: [EntryMap, Entry[]][] = [];
        let map = EntryMap.of([], Math.random);
        for (const [index, { key, put }] of steps.entries()) {
          if (put) model.set(key, entryOf(key, index));
          else model.delete(key);
          map = put ? map.with(entryOf(key, index)) : map.without(key);
          versions.push([map, [...model.values()].sort((one, other) => compareKeys(one.key, other.key))]);
        }
        for (const [version, entries] of versions) {
          expect([...version.values()]).toEqual(entries);
          expect([...version.keys()]).toEqual(entries.map(({ key }) => key));
          expect(version.size).toBe(entries.length);
          expect(version.under(prefix)).toEqual(entries.filter(({ key }) => key.startsWith(prefix)));
          expect([version.has(prefix), version.get(prefix)]).toEqual([
            entries.some(({ key }) => key === prefix),
            entries.find(({ key }) => key === prefix),
          ]);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("gives every reader a copy of its own", () => {
    const map = EntryMap.of([entryOf("a", 1)], Math.random);
    const [one, other] = [map.get("a") as Entry, [...map.values()][0] as Entry];
    one.value[0] = 0;
    other.value[0] = 0;
    let each: Entry | undefined;
    map.forEach((entry) => {
      each = entry;
    });
    expect([map.get("a"), each, [...map][0]?.[1]]).toEqual([entryOf("a", 1), entryOf("a", 1), entryOf("a", 1)]);
  });

  test("gives back itself when what is removed is not there", () => {
    const map = EntryMap.of([entryOf("a", 1)], Math.random);
    expect(map.without("b")).toBe(map);
  });

  test("is right with the worst of luck, though as deep as a list", () => {
    let map = EntryMap.of([], () => 0);
    for (const index of [3, 1, 2, 0, 1, 3]) map = map.with(entryOf(`${index}`, index));
    expect([...map.keys()]).toEqual(["0", "1", "2", "3"]);
    expect([...map.without("1").without("3").keys()]).toEqual(["0", "2"]);
  });

  test("changes as fast with many keys as with few, and stays shallow", () => {
    const many = Array.from({ length: 20_000 }, (_, index) => entryOf(`keys/${index}`, index));
    let map = EntryMap.of(many, Math.random);
    const started = performance.now();
    const kept: EntryMap[] = [];
    for (let index = 0; index < 20_000; index++) {
      map = map.with(entryOf(`keys/${index % 100}`, index));
      kept.push(map);
    }
    // A copy of the map for each change would be 400 million entries.
    expect(performance.now() - started).toBeLessThan(5_000);
    expect([kept[0]?.get("keys/0")?.modified, map.get("keys/0")?.modified]).toEqual([0n, 19_900n]);
  });
});
