// Which etcds this machine can run, and which of them the tests want. Plain Node: it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * @typedef {object} EtcdBinary
 * @property {string} series    "3.5"
 * @property {string} version   "3.5.30"
 * @property {string} binary    absolute path of `etcd`
 * @property {string} etcdctl   absolute path of `etcdctl`
 */

/** Series the tests run on, newest first. */
export const wantedSeries = ["3.5", "3.4"];

/** Where downloaded servers live. */
export const serversFolder = resolve(
  process.env["CONCLAVE_SERVERS"] ?? fileURLToPath(new URL("../../.servers", import.meta.url)),
);

/**
 * One etcd of each series: the downloaded ones, and what PATH adds to them.
 * @returns {EtcdBinary[]}
 */
export function locateEtcds(folder = serversFolder) {
  const downloaded = wantedSeries.map((series) => join(folder, `etcd-${series}`, "root", "usr", "bin", "etcd"));
  const onPath = (process.env["PATH"] ?? "").split(delimiter).map((path) => join(path, "etcd"));
  /** @type {Map<string, EtcdBinary>} */
  const found = new Map();
  for (const binary of [...downloaded, ...onPath]) {
    const version = versionOf(binary);
    if (version === undefined) continue;
    const series = version.split(".").slice(0, 2).join(".");
    if (!found.has(series)) found.set(series, { series, version, binary, etcdctl: join(dirname(binary), "etcdctl") });
  }
  return [...found.values()].sort((a, b) => wantedSeries.indexOf(a.series) - wantedSeries.indexOf(b.series));
}

/** @param {string} binary */
function versionOf(binary) {
  if (!existsSync(binary)) return undefined;
  const { stdout } = spawnSync(binary, ["--version"], { encoding: "utf8" });
  return /etcd Version: (\d+\.\d+\.\d+\S*)/.exec(stdout ?? "")?.[1];
}
