import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { runNode } from "./harness/child.ts";

const folder = new URL("../examples/", import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith(".ts"));

test.each(names)("examples/%s runs on memory, checks itself, and ends by itself", { timeout: 60_000 }, async (name) => {
  await using child = runNode(new URL(name, folder));
  const { code, signal } = await child.exited;
  expect({ code, signal, output: code === 0 ? "" : child.output }).toEqual({ code: 0, signal: null, output: "" });
});
