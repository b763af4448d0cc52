import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { isAtLeast, onPath, ownVersion, writeLauncher } from "./programs.mjs";

/**
 * @typedef {object} PostgresPrograms
 * @property {string} version   "15"
 * @property {string} bin       the folder of `initdb` and `postgres`
 */

/** @type {import("../locate.mjs").Wanted} */
export const wantedPostgres = {
  store: "postgresql",
  name: "PostgreSQL 13 or newer",
  packages: ["postgresql"],
  dependencies: true,
  suites: ["release"],
  variable: "POSTGRES_URL",
  byHand: "put `initdb` and `postgres` on PATH, or name a running one: POSTGRES_URL=postgres://… npm test",
  unpacked: (place) => {
    for (const bin of below(join(place, "root"))) {
      for (const name of ["initdb", "postgres"]) writeLauncher(place, join(bin.slice(place.length + 6), name));
    }
  },
  versionIn: (place) => programsIn(join(place, "bin"))?.version,
  placeOf: () => "postgresql",
  fits: (version) => isAtLeast(version, [13]),
};

/**
 * The newest one that the system has installed, the one on PATH, or the downloaded one.
 * @param {string} folder
 * @returns {PostgresPrograms | undefined}
 */
export function locatePostgres(folder) {
  for (const bin of [...below("/"), ...onPath("postgres").map(dirname), join(folder, "postgresql", "bin")]) {
    const programs = programsIn(bin);
    if (programs && wantedPostgres.fits(programs.version)) return programs;
  }
  return undefined;
}

/** @param {string} bin */
function programsIn(bin) {
  const version = ownVersion(join(bin, "postgres"), /\(PostgreSQL\) (\d+)/);
  return version !== undefined && existsSync(join(bin, "initdb")) ? { version, bin } : undefined;
}

/**
 * Where Debian keeps the programs, which are on nobody's PATH: newest first.
 * @param {string} root
 */
function below(root) {
  const folder = join(root, "usr", "lib", "postgresql");
  const versions = existsSync(folder) ? readdirSync(folder).sort((a, b) => Number(b) - Number(a)) : [];
  return versions.map((version) => join(folder, version, "bin"));
}
