import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { isAtLeast, onPath, ownVersion } from "./programs.mjs";

/**
 * @typedef {object} EtcdBinary
 * @property {string} version   "3.5.30"
 * @property {string} binary    absolute path of `etcd`
 * @property {string} etcdctl   absolute path of `etcdctl`
 */

const common = {
  store: "etcd",
  packages: ["etcd-server", "etcd-client"],
  dependencies: false,
  variable: "ETCD_ENDPOINTS",
  byHand: "put `etcd` on PATH, or name running ones: ETCD_ENDPOINTS=http://… npm test",
  versionIn: (/** @type {string} */ place) => versionOf(binaryIn(place)),
  placeOf: (/** @type {string} */ version) => `etcd-${seriesOf(version)}`,
};

/**
 * One that safety is claimed for, and one of the oldest series that works.
 * @type {import("../locate.mjs").Wanted[]}
 */
export const wantedEtcds = [
  { ...common, name: "etcd 3.5.30 or newer", suites: ["sid", "release"], fits: (v) => isAtLeast(v, [3, 5, 30]) },
  { ...common, name: "etcd 3.4", suites: ["release", "sid"], fits: (v) => seriesOf(v) === "3.4" },
];

/**
 * One etcd of each series, newest first: the downloaded ones, and what PATH adds to them.
 * @param {string} folder
 * @returns {EtcdBinary[]}
 */
export function locateEtcds(folder) {
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith("etcd-")) : [];
  const downloaded = names.map((name) => binaryIn(join(folder, name)));
  /** @type {Map<string, EtcdBinary>} */
  const found = new Map();
  for (const binary of [...downloaded, ...onPath("etcd")]) {
    const version = versionOf(binary);
    if (version === undefined || found.has(seriesOf(version))) continue;
    found.set(seriesOf(version), { version, binary, etcdctl: join(dirname(binary), "etcdctl") });
  }
  return [...found.values()].sort((a, b) => b.version.localeCompare(a.version, "en", { numeric: true }));
}

/** @param {string} version */
function seriesOf(version) {
  return version.split(".").slice(0, 2).join(".");
}

/** @param {string} place */
function binaryIn(place) {
  return join(place, "root", "usr", "bin", "etcd");
}

/** @param {string} binary */
function versionOf(binary) {
  return ownVersion(binary, /etcd Version: (\d+\.\d+\.\d+\S*)/);
}
