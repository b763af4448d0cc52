import { existsSync } from "node:fs";
import { join } from "node:path";
import { isAtLeast, libraryFolders, onPath, ownVersion, writeLauncher } from "./programs.mjs";

/**
 * @typedef {object} RedisBinary
 * @property {string} version   "7.0.15"
 * @property {string} binary    absolute path of `redis-server`
 */

/** @type {import("../locate.mjs").Wanted} */
export const wantedRedis = {
  store: "redis",
  name: "Redis 6.2 or newer",
  packages: ["redis-server"],
  dependencies: true,
  suites: ["release"],
  variable: "REDIS_URL",
  byHand: "put `redis-server` on PATH, or name a running one: REDIS_URL=redis://… npm test",
  unpacked: (place) => writeLauncher(place, "usr/bin/redis-server"),
  versionIn: (place) => versionOf(join(place, "bin", "redis-server")),
  placeOf: () => "redis",
  fits: (version) => isAtLeast(version, [6, 2]),
};

/**
 * With it a test can set a Redis's clock.
 * @type {import("../locate.mjs").Wanted}
 */
export const wantedFaketime = {
  store: "faketime",
  name: "libfaketime",
  packages: ["libfaketime"],
  dependencies: false,
  suites: ["release"],
  variable: "REDIS_URL",
  byHand: "install libfaketime, for tests that set a server's clock",
  versionIn: (place) => (faketimeBelow(join(place, "root")) ? "any" : undefined),
  placeOf: () => "faketime",
  fits: () => true,
};

/**
 * The one on PATH, or the downloaded one.
 * @param {string} folder
 * @returns {RedisBinary | undefined}
 */
export function locateRedis(folder) {
  for (const binary of [...onPath("redis-server"), join(folder, "redis", "bin", "redis-server")]) {
    const version = versionOf(binary);
    if (version !== undefined && wantedRedis.fits(version)) return { version, binary };
  }
  return undefined;
}

/**
 * The library that lies to a program about the time.
 * @param {string} folder
 * @returns {string | undefined}
 */
export function locateFaketime(folder) {
  return faketimeBelow("/") ?? faketimeBelow(join(folder, "faketime", "root"));
}

/** @param {string} root */
function faketimeBelow(root) {
  return libraryFolders(root)
    .map((libraries) => join(libraries, "faketime", "libfaketime.so.1"))
    .find((file) => existsSync(file));
}

/** @param {string} binary */
function versionOf(binary) {
  return ownVersion(binary, /v=(\d+\.\d+\.\d+)/);
}
