import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runNode } from "./harness/child.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

// What esbuild makes of `using` in the body of a loop remembers, once a round failed, that error for all later rounds: each
// of them ends with it, whatever it came to. Bundlers and runners of TypeScript that are made of esbuild do that, as ours.

test("sources that esbuild has lowered go on claiming after a claim has failed", async () => {
  const child = runNode(new URL("./harness/children/claimant.ts", import.meta.url));
  try {
    expect(await child.next(() => true, 10_000)).toEqual({ value: "pack" });
  } finally {
    await child.kill();
  }
});

test("no source of ours has `using` in the body of a loop", () => {
  const sources = readdirSync(`${root}packages`).flatMap((name) => filesIn(`packages/${name}/src`));
  expect(sources.length).toBeGreaterThan(100);
  expect(sources.flatMap(usingInLoops)).toEqual([]);
});

function filesIn(folder: string): string[] {
  // The suite runs under vitest alone, which does it right.
  if (folder.startsWith("packages/conformance")) return [];
  const names = readdirSync(`${root}${folder}`, { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.endsWith(".ts")).map((name) => `${folder}/${name}`);
}

/** By how deep lines are indented: from each `using` up to its function, is there a loop? */
function usingInLoops(file: string): string[] {
  const lines = readFileSync(`${root}${file}`, "utf8").split("\n");
  const depthOf = (line: string) => line.length - line.trimStart().length;
  return lines.flatMap((line, number) => {
    if (!/^\s+(await )?using \w+ =/.test(line)) return [];
    let depth = depthOf(line);
    for (const above of lines.slice(0, number).reverse()) {
      if (above.trim() === "" || depthOf(above) >= depth) continue;
      depth = depthOf(above);
      if (/^\s*(for|while|do)\b/.test(above)) return [`${file}:${number + 1}`];
      if (/^\s*(if|try|else|switch|\} (catch|finally|else))\b/.test(above)) continue;
      return [];
    }
    return [];
  });
}
