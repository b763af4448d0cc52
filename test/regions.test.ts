import { expect, test } from "vitest";
import { blocksOf, regionOf } from "./regions.ts";

const source = `import "x";
  // #region outer

  if (a) {
    // #region inner
    b();
    // #endregion
  }
  // #endregion outer
c();
// #region open
`;

test("a region is what lies between its markers, at the margin", () => {
  expect(regionOf(source, "outer")).toBe("if (a) {\n  b();\n}");
  expect(regionOf(source, "inner")).toBe("b();");
});

test("a region that is missing, open or there twice is an error", () => {
  expect(() => regionOf(source, "nowhere")).toThrow("no region");
  expect(() => regionOf(source, "open")).toThrow("does not end");
  expect(() => regionOf(source.replace("open", "outer"), "outer")).toThrow("two regions");
});

test("the blocks of a page know their line and where they come from", () => {
  const page =
    "# Page\n\n<!-- examples/a.ts#one -->\n```ts\na();\n```\n\n  ```ts\n  b();\n    c();\n  ```\n\n```sh\nnpm test\n```\n";
  expect(blocksOf(page)).toEqual([
    { line: 4, code: "a();", file: "examples/a.ts", region: "one" },
    { line: 8, code: "b();\n  c();", file: undefined, region: undefined },
  ]);
});
