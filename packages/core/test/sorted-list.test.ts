import fc from "fast-check";
import { expect, test } from "vitest";
import { SortedList } from "../src/recipes/queue/sorted-list.ts";

test("a sorted list holds what a set does, in order", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.boolean())), (steps) => {
      const list = new SortedList<number>((one, other) => one < other);
      const set = new Set<number>();
      for (const [number, add] of steps) {
        if (!add) expect(list.delete(number)).toBe(set.delete(number));
        else if (!set.has(number)) {
          set.add(number);
          list.add(number);
        }
        expect([...list]).toEqual([...set].sort((one, other) => one - other));
        expect(list.first).toBe([...list][0]);
      }
    }),
  );
});
