// npm test [-- filter …]: builds, then tests everything on memory and on every store there is.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { install, run } from "./bootstrap.mjs";
import { ensureServers } from "./servers/install.mjs";
import { missingFrom, wantedServers } from "./servers/locate.mjs";
import { nothing } from "./tally-reporter.mjs";

/** @typedef {import("./tally-reporter.mjs").Tally} Tally */

install();
const { problems } = await ensureServers();
const built = (await run("tsc", ["-b"])) === 0;
const tally = await test();
if (!built) tally.errors.push("the build");
report(tally, tally.failed + tally.errors.length);

/** Runs vitest and gives what its reporter counted. */
async function test() {
  const folder = mkdtempSync(join(tmpdir(), "conclave-tally-"));
  const file = join(folder, "tally.json");
  const reporters = ["--reporter=default", "--reporter=./scripts/tally-reporter.mjs"];
  const code = await run("vitest", ["run", ...reporters, ...process.argv.slice(2)], { env: { CONCLAVE_TALLY: file } });
  const counted = read(file);
  if (counted === undefined) console.log("The test run broke off before it ended.");
  const result = counted ?? nothing();
  // A file is empty for want of a server, and told as such; where none is wanting, it is so by mistake.
  if (!lacksServers(result)) result.errors.push(...result.empty.map((file) => `${file} has no tests`));
  if (code !== 0 && result.failed + result.errors.length + result.empty.length === 0)
    result.errors.push("the test run");
  rmSync(folder, { recursive: true, force: true });
  return result;
}

/** @param {Tally} tally */
function lacksServers({ servers }) {
  return missingFrom(servers).length > 0 || wantedServers.some(({ variable }) => process.env[variable]);
}

/**
 * @param {Tally} tally
 * @param {number} failed
 */
function report(tally, failed) {
  for (const [place, { passed, failed }] of Object.entries(tally.places)) {
    console.log(`  ${place}: ${passed} passed${failed > 0 ? `, ${failed} failed` : ""}`);
  }
  for (const failure of tally.failures) console.log(`  failed: ${failure}`);
  for (const error of tally.errors) console.log(`  failed outside of any test: ${error.split("\n")[0]}`);
  if (tally.skipped > 0) console.log(`  skipped: ${tally.skipped}`);
  const missing = missingFrom(tally.servers);
  if (missing.length > 0 && tally.complete) {
    console.log(`\nNot tested, since it was not there: ${missing.map(({ name }) => name).join(", ")}.`);
    if (tally.empty.length > 0) console.log(`  Nothing ran in ${tally.empty.join(", ")}.`);
    for (const problem of problems) console.log(`  ${problem}`);
    for (const byHand of new Set(missing.map(({ byHand }) => byHand))) console.log(`  To add it, ${byHand}`);
    if (process.env["CI"]) {
      console.log("  In CI every missing server is a failure.");
      failed += missing.length;
    }
  }
  console.log(`\n${tally.passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

/**
 * @param {string} file
 * @returns {Tally | undefined}
 */
function read(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}
