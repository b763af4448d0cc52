// A vitest reporter that counts, and tells on which servers: its numbers are the last thing that `npm test` prints.
import { writeFileSync } from "node:fs";

/**
 * @typedef {object} Tally
 * @property {boolean} complete   false if the run broke off, so that nothing is known
 * @property {number} passed
 * @property {number} failed
 * @property {number} skipped
 * @property {string[]} failures   which tests failed, and the first line of why
 * @property {string[]} errors   what went wrong outside of tests: in a file, a hook, or after the end
 * @property {string[]} empty   files that had no test to run, as those for a server that is not there
 * @property {Record<string, { passed: number, failed: number }>} places
 * @property {{ store: string, name: string, version: string }[]} servers   those that were there to test on
 */

export default class TallyReporter {
  /** @type {import("vitest/node").Vitest | undefined} */
  #vitest;

  /** @param {import("vitest/node").Vitest} vitest */
  onInit(vitest) {
    this.#vitest = vitest;
  }

  /**
   * @param {readonly import("vitest/node").TestModule[]} modules
   * @param {readonly import("vitest/node").SerializedError[]} unhandled
   */
  onTestRunEnd(modules, unhandled) {
    const servers = [...(this.#vitest?.getRootProject().getProvidedContext()["found"] ?? [])];
    /** @type {Tally} */
    const tally = { ...nothing(), complete: true, servers };
    tally.errors.push(...unhandled.map(({ message }) => message));
    for (const module of modules) {
      if (isEmpty(module)) tally.empty.push(module.relativeModuleId);
      else tally.errors.push(...errorsOf(module));
      for (const suite of module.children.allSuites()) tally.errors.push(...errorsOf(suite));
      for (const test of module.children.allTests()) count(tally, test);
    }
    const file = process.env["CONCLAVE_TALLY"];
    if (file !== undefined) writeFileSync(file, JSON.stringify(tally));
  }
}

/**
 * What is known of a run that broke off.
 * @returns {Tally}
 */
export function nothing() {
  return {
    complete: false,
    passed: 0,
    failed: 0,
    skipped: 0,
    failures: [],
    errors: [],
    empty: [],
    places: {},
    servers: [],
  };
}

/**
 * Vitest holds that to be an error, the only one of such a file.
 * @param {import("vitest/node").TestModule} module
 */
function isEmpty(module) {
  return module.children.size === 0 && errorsOf(module).every((message) => message.startsWith("No test suite found"));
}

/** @param {{ errors(): readonly { message: string }[] }} part */
function errorsOf(part) {
  return part.errors().map(({ message }) => message);
}

/**
 * @param {Tally} tally
 * @param {import("vitest/node").TestCase} test
 */
function count(tally, test) {
  const { state, errors } = test.result();
  if (state === "skipped") {
    tally.skipped++;
    return;
  }
  const outcome = state === "passed" ? "passed" : "failed"; // a test that never ended failed
  const place = tally.servers.find(({ name }) => test.fullName.includes(name))?.name ?? "with no server";
  tally.places[place] ??= { passed: 0, failed: 0 };
  tally.places[place][outcome]++;
  tally[outcome]++;
  if (outcome === "failed")
    tally.failures.push(`${test.fullName}: ${errors?.[0]?.message.split("\n")[0] ?? "it did not end"}`);
}
