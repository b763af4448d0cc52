// npm run check: everything that can be known about the code without running it.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { install, root, run } from "./bootstrap.mjs";

install();
/** @type {string[]} */
const failed = [];
const colors = process.stdout.isTTY ? [] : ["--colors=off"];
await Promise.all([
  step("format and lint", () => tool("biome", "ci", "--error-on-warnings", ...colors, ".")),
  step("types", () => tool("tsc", "-b")),
]);
await Promise.all([
  step("nothing unused", () => tool("knip", "--no-config-hints")),
  step("packages as published", checkPackages),
]);
console.log(failed.length === 0 ? "\nAll is well." : `\nFailed: ${failed.join(", ")}. What was wrong stands above.`);
process.exitCode = failed.length === 0 ? 0 : 1;

/**
 * @param {string} name
 * @param {() => Promise<boolean>} check
 */
async function step(name, check) {
  const start = performance.now();
  const passed = await check();
  if (!passed) failed.push(name);
  console.log(`${passed ? "✓" : "✗"} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}

/**
 * @param {string} name
 * @param {...string} args
 */
async function tool(name, ...args) {
  return (await run(name, args, { quiet: true })) === 0;
}

/** Packs each package and has a look at the tarball: does it hold what it promises, and do its types resolve? */
async function checkPackages() {
  const folder = mkdtempSync(join(tmpdir(), "conclave-pack-"));
  let passed = true;
  for (const name of readdirSync(`${root}packages`)) {
    const packed = await tool("npm", "pack", `${root}packages/${name}`, "--pack-destination", folder);
    const file = readdirSync(folder)[0];
    if (!packed || file === undefined) {
      passed = false;
      continue;
    }
    const tarball = join(folder, file);
    if (!(await tool("publint", tarball, "--strict"))) passed = false;
    if (!(await tool("attw", tarball, "--profile", "esm-only"))) passed = false;
    rmSync(tarball);
  }
  rmSync(folder, { recursive: true, force: true });
  return passed;
}
