import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { blocksOf, regionOf } from "./regions.ts";

const root = new URL("../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");
const docs = readdirSync(new URL("docs", root), { recursive: true }).map((name) => `docs/${name}`);
const pages = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", ...docs]
  .filter((path) => path.endsWith(".md") && existsSync(new URL(path, root)))
  .map((page) => ({ page, blocks: blocksOf(read(page)) }));

describe.each(pages.filter(({ blocks }) => blocks.length > 0))("$page", ({ blocks }) => {
  test.each(blocks)("line $line is code that runs: $file#$region", ({ code, file, region }) => {
    if (file === undefined || region === undefined) {
      throw new Error("say above the block where it comes from: <!-- examples/file.ts#region -->");
    }
    expect(code).toBe(regionOf(read(file), region));
  });
});

test("every page's links to files lead somewhere", () => {
  const dead = pages.flatMap(({ page }) =>
    [...read(page).matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)]
      .map(([, target = ""]) => ({ page, target }))
      .filter(({ target }) => !existsSync(new URL(target, new URL(page, root)))),
  );
  expect(dead).toEqual([]);
});
