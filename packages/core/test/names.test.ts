import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { byteLength } from "../src/bytes.ts";
import { prefixOf, segment, unsegment } from "../src/context.ts";

const runs = { numRuns: 1_000 };
/** Names, with more than their share of what escaping is about. */
const name = fc.oneof(
  fc.string({ unit: fc.constantFrom("a", "b", "/", "%", "2", "5", "F", ".", "é"), minLength: 1, maxLength: 8 }),
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 }).filter((text) => !text.includes("\0")),
);

describe("a name in a key", () => {
  test("is one segment, from which the name can be had back", () => {
    fc.assert(
      fc.property(name, (text) => {
        expect(segment(text)).not.toContain("/");
        expect(unsegment(segment(text))).toBe(text);
      }),
      runs,
    );
  });

  test("has a prefix of its own, which covers no other name's", () => {
    fc.assert(
      fc.property(name, name, fc.constantFrom("mutex", "election"), (one, other, kind) => {
        const [left, right] = [prefixOf(kind, one), prefixOf(kind, other)];
        expect(left.startsWith(right)).toBe(one === other);
      }),
      runs,
    );
  });

  test("is of one kind: a mutex and an election of one name share nothing", () => {
    fc.assert(
      fc.property(name, name, (one, other) => {
        expect(prefixOf("mutex", one).startsWith(prefixOf("election", other))).toBe(false);
      }),
      runs,
    );
  });

  test("may be given as a raw prefix, taken as it is", () => {
    expect(prefixOf("mutex", { prefix: "/locks/a%b/" })).toBe("/locks/a%b/");
  });
});

test("the length of text in bytes is that of its encoding", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
      expect(byteLength(text)).toBe(new TextEncoder().encode(text).length);
    }),
    runs,
  );
});
