import { describe, expect, test } from "vitest";
import { decode } from "../src/bytes.ts";
import { encodeJson } from "../src/json.ts";

describe("what is stored as JSON", () => {
  test.each([
    ["what is no number, behind what is absent", { absent: undefined, not: Number.NaN }],
    ["a function, behind what is absent", { absent: undefined, not: () => 1 }],
    ["an item that is absent, which would become null", [undefined]],
    ["a hole, which would become null", new Array(1)],
  ])("is not %s", (_, value) => {
    expect(() => encodeJson("value", value)).toThrow("value must be something that JSON can carry, not ");
  });

  test("lacks a property that is undefined", () => {
    expect(decode(encodeJson("value", { absent: undefined, there: 1 }))).toBe('{"there":1}');
  });
});
