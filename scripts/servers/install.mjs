// Gets the servers that the tests want, where apt can: from this machine's own release or Debian's unstable suite.
// They are unpacked into a folder and never installed, and apt's own lists and cache are left as they are.
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Apt, hasApt } from "./apt.mjs";
import { aptSources, asDeb822 } from "./apt-sources.mjs";
import { foundAmong, locateServers, missingFrom, serversFolder } from "./locate.mjs";

/** @typedef {import("./locate.mjs").Wanted} Wanted */

/**
 * Makes sure of the wanted servers as far as possible, and tells what stood in the way of the others. Those that the
 * environment names running ones of are left alone.
 * @param {{ folder?: string, stores?: readonly string[], say?: (line: string) => void }} [options]  stores: no others
 * @returns {Promise<{ located: import("./locate.mjs").Located, problems: string[] }>}
 */
export async function ensureServers({ folder = serversFolder, stores, say = console.log } = {}) {
  const missing = missingFrom(foundAmong(locateServers(folder))).filter(
    ({ store, variable }) => !process.env[variable] && (stores?.includes(store) ?? true),
  );
  if (missing.length === 0) return { located: locateServers(folder), problems: [] };
  if (!hasApt()) {
    return { located: locateServers(folder), problems: ["only a Debian-like system gets its servers by itself"] };
  }
  say(`Getting ${missing.map((wanted) => wanted.name).join(", ")} …`);
  await mkdir(folder, { recursive: true });
  const work = await mkdtemp(join(folder, ".new-"));
  try {
    const fetcher = new Fetcher(folder, work);
    const attempts = await Promise.allSettled(missing.map((wanted) => fetcher.fetch(wanted)));
    const problems = attempts.flatMap((attempt) => (attempt.status === "rejected" ? [attempt.reason.message] : []));
    return { located: locateServers(folder), problems };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

class Fetcher {
  #folder;
  #work;
  /** @type {Map<string | undefined, Promise<Apt>>} */
  #apts = new Map();

  /**
   * @param {string} folder
   * @param {string} work   on the same disk, and removed in the end
   */
  constructor(folder, work) {
    this.#folder = folder;
    this.#work = work;
  }

  /**
   * Tries one place after the other until one has what fits.
   * @param {Wanted} wanted
   */
  async fetch(wanted) {
    /** @type {string[]} */
    const reasons = [];
    for (const suite of wanted.suites) {
      for (const origin of originsOf(suite)) {
        const whose = suite === "release" ? "this release" : "unstable";
        try {
          const place = await mkdtemp(join(this.#work, "place-"));
          await (await this.#aptOf(origin)).unpack(place, wanted);
          wanted.unpacked?.(place);
          const version = wanted.versionIn(place);
          if (version !== undefined && wanted.fits(version)) {
            return await this.#moveIn(place, wanted, version);
          }
          reasons.push(version ? `${whose} has ${wanted.store} ${version}` : `what ${whose} has does not run`);
        } catch (error) {
          reasons.push(`${whose}: ${reasonOf(error)}`);
        }
      }
    }
    throw new Error(`could not get ${wanted.name} (${[...new Set(reasons)].join("; ")})`);
  }

  /** @param {string | undefined} origin */
  #aptOf(origin) {
    const known = this.#apts.get(origin);
    if (known) return known;
    const opening = mkdtemp(join(this.#work, "apt-")).then((folder) => Apt.open(folder, origin));
    this.#apts.set(origin, opening);
    return opening;
  }

  /**
   * Puts what is unpacked where it belongs, in one step, so that nobody ever sees half of it.
   * @param {string} ready
   * @param {Wanted} wanted
   * @param {string} version
   */
  async #moveIn(ready, wanted, version) {
    const place = join(this.#folder, wanted.placeOf(version));
    await chmod(ready, 0o755); // a temporary folder is for its owner alone, and some servers refuse to run as root
    await rename(ready, place).catch(async (error) => {
      if (wanted.versionIn(place) !== undefined) return; // somebody else was faster
      if (!existsSync(place)) throw error;
      await rename(place, await mkdtemp(join(this.#work, "broken-")));
      await rename(ready, place);
    });
  }
}

/**
 * The texts of *.sources files; undefined is the machine's own.
 * @param {"release" | "sid"} suite
 * @returns {(string | undefined)[]}
 */
function originsOf(suite) {
  if (suite === "release") return [undefined];
  const mains = aptSources().filter(({ components }) => components.includes("main"));
  return [...new Map(mains.map((source) => [source.uri, asDeb822(source, suite)])).values()];
}

/** @param {any} error */
function reasonOf(error) {
  const lines = String(error.stderr || error.message).split("\n");
  return lines.find((line) => /^(E|Err|W):/.test(line))?.replace(/^\w+:\s*/, "") ?? lines[0];
}
