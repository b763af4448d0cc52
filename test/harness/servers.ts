import { inject } from "vitest";
import type { Found } from "../../scripts/servers/locate.mjs";
import type { PostgresPrograms } from "../../scripts/servers/stores/postgres.mjs";
import type { RedisBinary } from "../../scripts/servers/stores/redis.mjs";
import type { ZooKeeperProgram } from "../../scripts/servers/stores/zookeeper.mjs";
import { startPostgres } from "./postgres-process.ts";
import { startRedis, startRedisCluster } from "./redis-process.ts";
import { startEnsemble, startZooKeeper } from "./zookeeper-process.ts";

// Etcd is started once for the whole run, and shared. Of the others a run only finds out whether they are there: each
// file starts its own when it needs it, with `open` here or with `startRedis` and its like, so that files run side by
// side and a narrow run waits for nobody. Put `name` into the name of a `describe`: by it `npm test` counts.

/** A real etcd that the test run started, or was given. */
export interface EtcdServer {
  /** For test names: "etcd 3.5.30". */
  readonly name: string;
  readonly version: string;
  readonly endpoint: string;
  /** Of the servers that were started here; undefined for one that was given by its endpoint. */
  readonly binary: string | undefined;
  readonly etcdctl: string | undefined;
}

/** A place to test on: `open` starts a server of the caller's own, or gives the one that the environment names. */
export interface Place<Open> {
  readonly name: string;
  readonly version: string;
  open(): Promise<Open & AsyncDisposable>;
}

/** A Redis to start, stop and break: for `startRedis` and its like. */
export interface RedisProgram extends RedisBinary {
  /** "redis 7.0.15" */
  readonly name: string;
  /** "redis cluster 7.0.15" */
  readonly clusterName: string;
  /** The library with which a test can set its clock. */
  readonly faketime: string | undefined;
}

/** What a run found, and what it was given. */
export interface Inventory {
  readonly redis?: RedisBinary & { readonly faketime: string | undefined };
  readonly givenRedis?: { readonly version: string; readonly url: string; readonly isCluster: boolean };
  readonly zookeeper?: ZooKeeperProgram;
  readonly givenZooKeeper?: { readonly version: string; readonly servers: readonly string[] };
  readonly postgres?: PostgresPrograms;
  readonly givenPostgres?: { readonly version: string; readonly url: string };
}

/** A server that tests may run on, by the name they bear. */
export interface NamedServer extends Found {
  readonly name: string;
}

declare module "vitest" {
  interface ProvidedContext {
    etcdServers: readonly EtcdServer[];
    inventory: Inventory;
    /** What `npm test` counts tests for, by name, and compares with what was wanted. */
    found: readonly NamedServer[];
  }
}

/** Every etcd to test on, for `describe.each(etcdServers())("$name", …)`. They are shared: use a prefix of your own. */
export function etcdServers(): readonly EtcdServer[] {
  return inject("etcdServers");
}

/** Those with a binary, for tests that start (and stop, and break) an etcd of their own. */
export function etcdBinaries(): readonly (EtcdServer & { binary: string; etcdctl: string })[] {
  return etcdServers().filter((server) => server.binary !== undefined) as never;
}

/** One Redis: "redis 7.0.15", at a URL. */
export function redisServers(): readonly Place<{ readonly url: string }>[] {
  const { redis, givenRedis: given } = inject("inventory");
  if (given && !given.isCluster) return [givenPlace(`redis ${given.version}`, given)];
  return redis ? [{ name: `redis ${redis.version}`, version: redis.version, open: () => startRedis(redis) }] : [];
}

/** A cluster of two primaries: "redis cluster 7.0.15", with nodes as "host:port". */
export function redisClusters(): readonly Place<{ readonly nodes: readonly string[] }>[] {
  const { redis, givenRedis: given } = inject("inventory");
  if (given?.isCluster) {
    return [givenPlace(`redis cluster ${given.version}`, { ...given, nodes: [new URL(given.url).host] })];
  }
  if (!redis) return [];
  return [{ name: `redis cluster ${redis.version}`, version: redis.version, open: () => startRedisCluster(redis) }];
}

/** The Redis to start, stop and break. */
export function redisBinaries(): readonly RedisProgram[] {
  const { redis } = inject("inventory");
  return redis ? [{ ...redis, name: `redis ${redis.version}`, clusterName: `redis cluster ${redis.version}` }] : [];
}

/** One ZooKeeper: "zookeeper 3.8.0". Sessions are short here: it grants half a second and more. */
export function zookeeperServers(): readonly Place<{ readonly servers: readonly string[] }>[] {
  const { zookeeper, givenZooKeeper: given } = inject("inventory");
  if (given?.servers.length === 1) return [givenPlace(`zookeeper ${given.version}`, given)];
  if (!zookeeper) return [];
  const { version } = zookeeper;
  return [{ name: `zookeeper ${version}`, version, open: () => startZooKeeper(zookeeper) }];
}

/** Three ZooKeepers that replicate: "zookeeper ensemble 3.8.0". */
export function zookeeperEnsembles(): readonly Place<{ readonly servers: readonly string[] }>[] {
  const { zookeeper, givenZooKeeper: given } = inject("inventory");
  if (given && given.servers.length > 1) return [givenPlace(`zookeeper ensemble ${given.version}`, given)];
  if (!zookeeper) return [];
  const { version } = zookeeper;
  return [{ name: `zookeeper ensemble ${version}`, version, open: () => startEnsemble(zookeeper) }];
}

/** The ZooKeeper to start, stop and break: for `startZooKeeper` and `startEnsemble`. */
export function zookeeperBinaries(): readonly (ZooKeeperProgram & { readonly name: string; ensembleName: string })[] {
  const { zookeeper } = inject("inventory");
  return zookeeper
    ? [
        {
          ...zookeeper,
          name: `zookeeper ${zookeeper.version}`,
          ensembleName: `zookeeper ensemble ${zookeeper.version}`,
        },
      ]
    : [];
}

/** One PostgreSQL: "postgresql 15", at a URL. */
export function postgresServers(): readonly Place<{ readonly url: string }>[] {
  const { postgres, givenPostgres: given } = inject("inventory");
  if (given) return [givenPlace(`postgresql ${given.version}`, given)];
  if (!postgres) return [];
  return [{ name: `postgresql ${postgres.version}`, version: postgres.version, open: () => startPostgres(postgres) }];
}

/** The PostgreSQL to start and stop, for `startPostgres`. */
export function postgresBinaries(): readonly (PostgresPrograms & { readonly name: string })[] {
  const { postgres } = inject("inventory");
  return postgres ? [{ ...postgres, name: `postgresql ${postgres.version}` }] : [];
}

/** A server that was there before us, and stays. */
function givenPlace<Open extends { readonly version: string }>(name: string, given: Open): Place<Open> {
  return { name, version: given.version, open: async () => ({ ...given, [Symbol.asyncDispose]: async () => {} }) };
}
