// What finding a program comes down to, whichever store it is of.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";

/**
 * Where PATH has a program of that name.
 * @param {string} name
 * @returns {string[]}
 */
export function onPath(name) {
  const paths = (process.env["PATH"] ?? "").split(delimiter).map((path) => join(path, name));
  return paths.filter((path) => existsSync(path));
}

/**
 * What a program answers to `--version`, as far as the pattern's first group goes; undefined if it does not run.
 * @param {string} binary
 * @param {RegExp} pattern
 */
export function ownVersion(binary, pattern) {
  if (!existsSync(binary)) return undefined;
  const { stdout } = spawnSync(binary, ["--version"], { encoding: "utf8" });
  return pattern.exec(stdout ?? "")?.[1];
}

/**
 * @param {string} version
 * @param {number[]} floor
 */
export function isAtLeast(version, floor) {
  const parts = version.split(".").map(Number.parseFloat);
  const differs = floor.findIndex((least, index) => parts[index] !== least);
  return differs < 0 || (parts[differs] ?? 0) > (floor[differs] ?? 0);
}

/**
 * Debian's folders of libraries below `root`, which are named after the architecture.
 * @param {string} root
 * @returns {string[]}
 */
export function libraryFolders(root) {
  return ["usr/lib", "lib"].flatMap((lib) => {
    const folder = join(root, lib);
    const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.includes("-linux-")) : [];
    return names.map((name) => join(folder, name));
  });
}

/**
 * Writes `place/bin/<name>`, which runs an unpacked program on the libraries that were unpacked with it.
 * @param {string} place   holds `root`, and may be moved as a whole
 * @param {string} program   its path below `root`
 */
export function writeLauncher(place, program) {
  const root = join(place, "root");
  const libraries = libraryFolders(root).map((folder) => `$root${folder.slice(root.length)}`);
  const lines = [
    "#!/bin/sh",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
    'root="${0%/*}/../root"',
    `LD_LIBRARY_PATH="${libraries.join(":")}" exec "$root/${program}" "$@"`,
  ];
  const bin = join(place, "bin");
  mkdirSync(bin, { recursive: true });
  const file = join(bin, program.split("/").at(-1) ?? program);
  writeFileSync(file, `${lines.join("\n")}\n`);
  chmodSync(file, 0o755);
}
