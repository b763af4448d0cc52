// Apt, asked for packages without installing any: its lists and its cache are a folder of our own.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Whether this is a machine that has apt. */
export function hasApt() {
  return existsSync("/usr/bin/apt-get") && existsSync("/usr/bin/dpkg-deb");
}

/** One place to get packages from. */
export class Apt {
  #folder;
  #options;

  /**
   * @param {string} folder   for its lists; whoever made it removes it
   * @param {readonly (readonly [string, string])[]} options
   */
  constructor(folder, options) {
    this.#folder = folder;
    this.#options = options;
  }

  /**
   * Reads what there is to get.
   * @param {string} folder
   * @param {string | undefined} origin   the text of a *.sources file, or undefined for the machine's own sources
   */
  static async open(folder, origin) {
    for (const path of ["lists/partial", "parts"]) await mkdir(join(folder, path), { recursive: true });
    /** @type {[string, string][]} */
    const options = [["Dir::State::Lists", join(folder, "lists")]];
    if (origin !== undefined) {
      await writeFile(join(folder, "parts", "origin.sources"), origin);
      options.push(["Dir::Etc::sourcelist", "/dev/null"], ["Dir::Etc::sourceparts", join(folder, "parts")]);
    }
    const apt = new Apt(folder, options);
    await apt.#run(folder, ["update"]);
    return apt;
  }

  /**
   * Unpacks packages into `place/root`, and those they need that this machine does not have.
   * @param {string} place
   * @param {{ packages: readonly string[], dependencies: boolean }} wanted
   */
  async unpack(place, { packages, dependencies }) {
    const debs = join(place, "cache", "archives");
    for (const path of [join(debs, "partial"), join(place, "root")]) await mkdir(path, { recursive: true });
    const install = ["install", "--download-only", "--no-install-recommends", "-y"];
    await this.#run(dependencies ? place : debs, [...(dependencies ? install : ["download"]), ...packages], place);
    for (const file of (await readdir(debs)).filter((name) => name.endsWith(".deb"))) {
      await run("dpkg-deb", ["-x", join(debs, file), join(place, "root")]);
    }
    await rm(join(place, "cache"), { recursive: true });
  }

  /**
   * @param {string} folder   to run it in
   * @param {readonly string[]} command
   * @param {string} [place]   for its cache
   */
  async #run(folder, command, place = this.#folder) {
    const options = [
      ...this.#options,
      ["Dir::Cache", join(place, "cache")],
      ["Debug::NoLocking", "true"],
      ["APT::Sandbox::User", "root"],
      ["APT::Update::Error-Mode", "any"],
      ["Acquire::Languages", "none"],
      ["Acquire::Retries", "2"],
      ["Acquire::http::Timeout", "20"],
    ];
    await mkdir(join(place, "cache", "archives", "partial"), { recursive: true });
    const flags = options.flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    const limits = { cwd: folder, timeout: 240_000, maxBuffer: 1 << 24, env: { ...process.env, LC_ALL: "C" } };
    await run("apt-get", ["-q", ...flags, ...command], limits);
  }
}
