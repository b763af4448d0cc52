import { Redis } from "ioredis";
import { Client } from "pg";
import type { TestProject } from "vitest/node";
import { type Located, locateServers } from "../../scripts/servers/locate.mjs";
import { type Etcd, startEtcd } from "./etcd-process.ts";
import type { EtcdServer, Inventory, NamedServer } from "./servers.ts";
import { askZooKeeper } from "./zookeeper-process.ts";

let running: Etcd[] = [];

/**
 * Before all tests: starts one etcd of each version there is, and says what else could be started. ETCD_ENDPOINTS,
 * REDIS_URL, ZOOKEEPER_HOSTS and POSTGRES_URL name running ones to use instead: of etcd several, each its own, with
 * spaces or commas between; of ZooKeeper all that form one ensemble.
 */
export async function setup(project: TestProject): Promise<void> {
  const located = locateServers();
  const given = named("ETCD_ENDPOINTS");
  const etcds = given.length > 0 ? await Promise.all(given.map(visitEtcd)) : await startEtcds(located);
  const inventory = await takeStock(located);
  project.provide("etcdServers", etcds);
  project.provide("inventory", inventory);
  const namedEtcds = etcds.map(({ name, version }) => ({ store: "etcd", name, version }));
  project.provide("found", [...namedEtcds, ...namesIn(inventory)]);
}

export async function teardown(): Promise<void> {
  await Promise.all(running.map((etcd) => etcd.stop()));
  running = [];
}

async function startEtcds({ etcds }: Located): Promise<EtcdServer[]> {
  return await Promise.all(
    etcds.map(async ({ version, binary, etcdctl }) => {
      const etcd = await startEtcd({ binary });
      running.push(etcd);
      return { name: `etcd ${version}`, version, endpoint: etcd.endpoint, binary, etcdctl };
    }),
  );
}

async function takeStock({ redis, faketime, zookeeper, postgres }: Located): Promise<Inventory> {
  const [redisUrl] = named("REDIS_URL");
  const hosts = named("ZOOKEEPER_HOSTS");
  const [postgresUrl] = named("POSTGRES_URL");
  return {
    ...(redis && { redis: { ...redis, faketime } }),
    ...(redisUrl && { givenRedis: await visit("REDIS_URL", redisUrl, visitRedis) }),
    ...(zookeeper && { zookeeper }),
    ...(hosts.length > 0 && { givenZooKeeper: await visit("ZOOKEEPER_HOSTS", hosts.join(","), visitZooKeeper) }),
    ...(postgres && { postgres }),
    ...(postgresUrl && { givenPostgres: await visit("POSTGRES_URL", postgresUrl, visitPostgres) }),
  };
}

function namesIn(inventory: Inventory): NamedServer[] {
  const { redis, givenRedis, zookeeper, givenZooKeeper, postgres, givenPostgres } = inventory;
  const called = (store: string, version: string, name = store) => ({ store, version, name: `${name} ${version}` });
  const both = (store: string, version: string, several: string) => [
    called(store, version),
    called(store, version, `${store} ${several}`),
  ];
  const postgresql = givenPostgres ?? postgres;
  return [
    ...(givenRedis ? [called("redis", givenRedis.version, givenRedis.isCluster ? "redis cluster" : "redis")] : []),
    ...(redis ? both("redis", redis.version, "cluster") : []),
    ...(redis?.faketime ? [{ store: "faketime", version: "any", name: "libfaketime" }] : []),
    ...(givenZooKeeper ? both("zookeeper", givenZooKeeper.version, "ensemble") : []),
    ...(zookeeper ? both("zookeeper", zookeeper.version, "ensemble") : []),
    ...(postgresql ? [called("postgresql", postgresql.version)] : []),
  ];
}

function named(variable: string): string[] {
  return (process.env[variable] ?? "").split(/[\s,]+/).filter((place) => place !== "");
}

async function visit<T>(variable: string, place: string, look: (place: string) => Promise<T>): Promise<T> {
  try {
    return await look(place);
  } catch (cause) {
    throw new Error(`${variable}: nobody answers there as expected`, { cause });
  }
}

async function visitEtcd(endpoint: string): Promise<EtcdServer> {
  return await visit("ETCD_ENDPOINTS", endpoint, async () => {
    const response = await fetch(new URL("/version", endpoint), { signal: AbortSignal.timeout(5_000) });
    const { etcdserver: version } = (await response.json()) as { etcdserver: string };
    return { name: `etcd ${version}`, version, endpoint, binary: undefined, etcdctl: undefined };
  });
}

async function visitRedis(url: string): Promise<NonNullable<Inventory["givenRedis"]>> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 5_000 });
  client.on("error", () => {}); // `connect` rejects with it
  try {
    await client.connect();
    const info = await client.info();
    const field = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, "m").exec(info)?.[1] ?? "";
    return { version: field("redis_version"), url, isCluster: field("cluster_enabled") === "1" };
  } finally {
    client.disconnect();
  }
}

async function visitZooKeeper(hosts: string): Promise<NonNullable<Inventory["givenZooKeeper"]>> {
  const servers = hosts.split(",");
  const [host = "", port = "2181"] = (servers[0] ?? "").split(":");
  const version = /version: (\d+\.\d+\.\d+)/.exec(await askZooKeeper("srvr", Number(port), host))?.[1];
  if (version === undefined) throw new Error("no version was told");
  return { version, servers };
}

async function visitPostgres(url: string): Promise<NonNullable<Inventory["givenPostgres"]>> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    const { rows } = await client.query("show server_version");
    return { version: Number.parseInt(rows[0].server_version, 10).toString(), url };
  } finally {
    await client.end();
  }
}
