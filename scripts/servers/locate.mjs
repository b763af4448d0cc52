// Which servers this machine can run, and which of them the tests want. Plain Node: it runs before anything is installed.
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { locateEtcds, wantedEtcds } from "./stores/etcd.mjs";
import { locatePostgres, wantedPostgres } from "./stores/postgres.mjs";
import { locateFaketime, locateRedis, wantedFaketime, wantedRedis } from "./stores/redis.mjs";
import { locateZooKeeper, wantedZooKeeper } from "./stores/zookeeper.mjs";

/**
 * Something that the tests ask for, and how to get it from Debian.
 * @typedef {object} Wanted
 * @property {string} store      which kind it is: "etcd", "redis"
 * @property {string} name       with the versions that do
 * @property {readonly string[]} packages
 * @property {boolean} dependencies   whether they need others too
 * @property {readonly ("release" | "sid")[]} suites   where to look for them: this machine's release, Debian's unstable
 * @property {string} variable   the environment variable that names running ones instead
 * @property {string} byHand     how to provide it oneself
 * @property {(place: string) => void} [unpacked]   makes what was unpacked into `place/root` run from there
 * @property {(place: string) => string | undefined} versionIn   of what was unpacked, if it runs
 * @property {(version: string) => string} placeOf   the name of the folder for it
 * @property {(version: string) => boolean} fits
 */

/**
 * What there is of a kind.
 * @typedef {object} Found
 * @property {string} store
 * @property {string} version
 */

/**
 * @typedef {object} Located
 * @property {import("./stores/etcd.mjs").EtcdBinary[]} etcds   newest first
 * @property {import("./stores/redis.mjs").RedisBinary | undefined} redis
 * @property {string | undefined} faketime   the library's path
 * @property {import("./stores/zookeeper.mjs").ZooKeeperProgram | undefined} zookeeper
 * @property {import("./stores/postgres.mjs").PostgresPrograms | undefined} postgres
 */

/** @type {readonly Wanted[]} */
export const wantedServers = [...wantedEtcds, wantedRedis, wantedFaketime, wantedZooKeeper, wantedPostgres];

/** Where downloaded servers live. */
export const serversFolder = resolve(
  process.env["CONCLAVE_SERVERS"] ?? fileURLToPath(new URL("../../.servers", import.meta.url)),
);

/** @returns {Located} */
export function locateServers(folder = serversFolder) {
  return {
    etcds: locateEtcds(folder),
    redis: locateRedis(folder),
    faketime: locateFaketime(folder),
    zookeeper: locateZooKeeper(folder),
    postgres: locatePostgres(folder),
  };
}

/**
 * What these are, for `missingFrom`.
 * @param {Located} located
 * @returns {Found[]}
 */
export function foundAmong({ etcds, redis, faketime, zookeeper, postgres }) {
  return [
    ...etcds.map(({ version }) => ({ store: "etcd", version })),
    ...(redis ? [{ store: "redis", version: redis.version }] : []),
    ...(faketime ? [{ store: "faketime", version: "any" }] : []),
    ...(zookeeper ? [{ store: "zookeeper", version: zookeeper.version }] : []),
    ...(postgres ? [{ store: "postgresql", version: postgres.version }] : []),
  ];
}

/**
 * What is wanted and not among these.
 * @param {readonly Found[]} found
 */
export function missingFrom(found) {
  return wantedServers.filter(({ store, fits }) => !found.some((one) => one.store === store && fits(one.version)));
}
