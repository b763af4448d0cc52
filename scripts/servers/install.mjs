// Gets the etcds that the tests want, where apt can: from this machine's own release and from Debian's unstable suite.
// They are unpacked into a folder and never installed, and apt's own lists and cache are left as they are.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { aptSources, asDeb822 } from "./apt-sources.mjs";
import { locateEtcds, missingFrom, seriesOf, serversFolder, versionOf } from "./locate.mjs";

const run = promisify(execFile);
const etcdIn = (/** @type {string} */ place) => join(place, "root", "usr", "bin", "etcd");

/**
 * Makes sure of the wanted etcds as far as possible, and tells what stood in the way of the others.
 * @param {{ folder?: string, say?: (line: string) => void }} [options]
 * @returns {Promise<{ etcds: import("./locate.mjs").EtcdBinary[], problems: string[] }>}
 */
export async function ensureEtcds({ folder = serversFolder, say = console.log } = {}) {
  const missing = missingFrom(locateEtcds(folder));
  if (missing.length === 0) return { etcds: locateEtcds(folder), problems: [] };
  if (!existsSync("/usr/bin/apt-get") || !existsSync("/usr/bin/dpkg-deb")) {
    return { etcds: locateEtcds(folder), problems: ["only a Debian-like system gets its etcds by itself"] };
  }
  say(`Getting ${missing.map((wanted) => wanted.name).join(" and ")} …`);
  await mkdir(folder, { recursive: true });
  const attempts = await Promise.allSettled(missing.map((wanted) => fetchEtcd(folder, wanted)));
  const problems = attempts.flatMap((attempt) => (attempt.status === "rejected" ? [attempt.reason.message] : []));
  return { etcds: locateEtcds(folder), problems };
}

/**
 * Tries this release's package first where that may do, then unstable of each place that this machine trusts.
 * @param {string} folder
 * @param {import("./locate.mjs").Wanted} wanted
 */
async function fetchEtcd(folder, wanted) {
  const mains = aptSources().filter(({ components }) => components.includes("main"));
  const places = [...new Map(mains.map((source) => [source.uri, source])).values()];
  /** @type {(string | undefined)[]} the text of a *.sources file, or undefined for the machine's own sources */
  const origins = [undefined, ...places.map((source) => asDeb822(source, "sid"))];
  if (wanted.preferUnstable) origins.push(origins.shift());
  /** @type {string[]} */
  const reasons = [];
  for (const origin of origins) {
    const work = await mkdtemp(join(folder, ".new-"));
    try {
      await download(work, origin);
      const version = versionOf(etcdIn(work));
      if (version !== undefined && wanted.fits(version)) {
        await moveIn(work, join(folder, `etcd-${seriesOf(version)}`));
        return;
      }
      reasons.push(`${origin ? "unstable" : "this release"} has etcd ${version}`);
    } catch (error) {
      reasons.push(`${origin ? "unstable" : "this release"}: ${reasonOf(error)}`);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
  throw new Error(`could not get ${wanted.name} (${[...new Set(reasons)].join("; ")})`);
}

/**
 * Unpacks etcd and etcdctl into `work/root`.
 * @param {string} work
 * @param {string | undefined} origin
 */
async function download(work, origin) {
  for (const path of ["lists/partial", "cache/archives/partial", "parts", "root"]) {
    await mkdir(join(work, path), { recursive: true });
  }
  const options = [
    ["Dir::State::Lists", join(work, "lists")],
    ["Dir::Cache", join(work, "cache")],
    ["APT::Sandbox::User", "root"],
    ["APT::Update::Error-Mode", "any"],
    ["Acquire::Languages", "none"],
    ["Acquire::Retries", "2"],
    ["Acquire::http::Timeout", "20"],
  ];
  if (origin !== undefined) {
    await writeFile(join(work, "parts", "unstable.sources"), origin);
    options.push(["Dir::Etc::sourcelist", "/dev/null"], ["Dir::Etc::sourceparts", join(work, "parts")]);
  }
  const flags = options.flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const limits = { cwd: work, timeout: 180_000, env: { ...process.env, LC_ALL: "C" } };
  await run("apt-get", ["-q", ...flags, "update"], limits);
  await run("apt-get", ["-q", ...flags, "download", "etcd-server", "etcd-client"], limits);
  for (const file of (await readdir(work)).filter((name) => name.endsWith(".deb"))) {
    await run("dpkg-deb", ["-x", file, "root"], limits);
  }
}

/**
 * Puts what is unpacked where it belongs, in one step, so that nobody ever sees half of it.
 * @param {string} work
 * @param {string} place
 */
async function moveIn(work, place) {
  const ready = join(work, "ready");
  await mkdir(ready);
  await rename(join(work, "root"), join(ready, "root"));
  await rename(ready, place).catch(async (error) => {
    if (versionOf(etcdIn(place)) !== undefined) return; // somebody else was faster
    if (!existsSync(place)) throw error;
    await rename(place, join(work, "broken"));
    await rename(ready, place);
  });
}

/** @param {any} error */
function reasonOf(error) {
  const lines = String(error.stderr || error.message).split("\n");
  return lines.find((line) => /^(E|Err|W):/.test(line))?.replace(/^\w+:\s*/, "") ?? lines[0];
}
