// Which etcds this machine can run, and which of them the tests want. Plain Node: it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * @typedef {object} EtcdBinary
 * @property {string} version   "3.5.30"
 * @property {string} binary    absolute path of `etcd`
 * @property {string} etcdctl   absolute path of `etcdctl`
 */

/**
 * @typedef {object} Wanted
 * @property {string} name
 * @property {boolean} preferUnstable   look in Debian's unstable suite before this machine's own release
 * @property {(version: string) => boolean} fits
 */

/**
 * What the tests ask for: one that safety is claimed for, and one of the oldest series that works.
 * @type {Wanted[]}
 */
export const wantedEtcds = [
  { name: "etcd 3.5.30 or newer", preferUnstable: true, fits: (version) => isAtLeast(version, [3, 5, 30]) },
  { name: "etcd 3.4", preferUnstable: false, fits: (version) => seriesOf(version) === "3.4" },
];

/** Where downloaded servers live. */
export const serversFolder = resolve(
  process.env["CONCLAVE_SERVERS"] ?? fileURLToPath(new URL("../../.servers", import.meta.url)),
);

/**
 * One etcd of each series, newest first: the downloaded ones, and what PATH adds to them.
 * @returns {EtcdBinary[]}
 */
export function locateEtcds(folder = serversFolder) {
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith("etcd-")) : [];
  const downloaded = names.map((name) => join(folder, name, "root", "usr", "bin", "etcd"));
  const onPath = (process.env["PATH"] ?? "").split(delimiter).map((path) => join(path, "etcd"));
  /** @type {Map<string, EtcdBinary>} */
  const found = new Map();
  for (const binary of [...downloaded, ...onPath]) {
    const version = versionOf(binary);
    if (version === undefined || found.has(seriesOf(version))) continue;
    found.set(seriesOf(version), { version, binary, etcdctl: join(dirname(binary), "etcdctl") });
  }
  return [...found.values()].sort((a, b) => b.version.localeCompare(a.version, "en", { numeric: true }));
}

/**
 * What is wanted and not among these.
 * @param {readonly { version: string }[]} etcds
 */
export function missingFrom(etcds) {
  return wantedEtcds.filter((wanted) => !etcds.some(({ version }) => wanted.fits(version)));
}

/** @param {string} version */
export function seriesOf(version) {
  return version.split(".").slice(0, 2).join(".");
}

/** @param {string} binary */
export function versionOf(binary) {
  if (!existsSync(binary)) return undefined;
  const { stdout } = spawnSync(binary, ["--version"], { encoding: "utf8" });
  return /etcd Version: (\d+\.\d+\.\d+\S*)/.exec(stdout ?? "")?.[1];
}

/**
 * @param {string} version
 * @param {number[]} floor
 */
function isAtLeast(version, floor) {
  const parts = version.split(".").map(Number.parseFloat);
  const differs = floor.findIndex((least, index) => parts[index] !== least);
  return differs < 0 || (parts[differs] ?? 0) > (floor[differs] ?? 0);
}
