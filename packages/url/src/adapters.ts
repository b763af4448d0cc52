import type { EtcdOptions } from "@conclave/backend-etcd";
import type { RedisOptions } from "@conclave/backend-redis";
import type { ZooKeeperOptions } from "@conclave/backend-zookeeper";
import type { Connector } from "@conclave/core";
import type { StoreUrl } from "./store-url.ts";

/** Loads the adapter that a URL needs, and gives its connector. Rejects when the adapter's package is not installed. */
export async function load(url: StoreUrl): Promise<Connector> {
  // Every import in full, so that bundlers see it, with its catch at once, so that they let it be missing.
  switch (url.scheme.store) {
    case "memory":
      return (await import("@conclave/backend-memory").catch(notInstalled("@conclave/backend-memory"))).memory();
    case "etcd":
      return (await import("@conclave/backend-etcd").catch(notInstalled("@conclave/backend-etcd"))).etcd(forEtcd(url));
    case "redis":
      return (await import("@conclave/backend-redis").catch(notInstalled("@conclave/backend-redis"))).redis(
        forRedis(url),
      );
    case "zookeeper":
      return (await import("@conclave/backend-zookeeper").catch(notInstalled("@conclave/backend-zookeeper"))).zookeeper(
        forZooKeeper(url),
      );
  }
}

/** Says what to do about an import that found nothing; what broke otherwise stays as it is. */
function notInstalled(name: string): (error: unknown) => never {
  return (error) => {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ERR_MODULE_NOT_FOUND" || !message.includes(`'${name}'`)) throw error;
    throw new Error(`${name} is not installed, and this URL needs it: npm install ${name}`, { cause: error });
  };
}

export function forEtcd({
  scheme,
  servers,
  username,
  password,
  callTimeoutMs,
  connectTimeoutMs,
}: StoreUrl): EtcdOptions {
  const endpoints = servers.map(({ host, port }) => `${scheme.secure ? "https" : "http"}://${host}:${port}`);
  return { endpoints, username, password, callTimeoutMs, connectTimeoutMs };
}

export function forRedis(url: StoreUrl): RedisOptions {
  const { scheme, servers, path, username, password, callTimeoutMs, connectTimeoutMs, space } = url;
  const options = { username, password, callTimeoutMs, connectTimeoutMs, space };
  if (!scheme.several) {
    const [{ host, port } = { host: "", port: 0 }] = servers;
    return { ...options, url: `${scheme.secure ? "rediss" : "redis"}://${host}:${port}/${path}` };
  }
  const nodes = servers.map(({ host, port }) => ({ host: host.replace(/^\[|\]$/g, ""), port }));
  const tls = scheme.secure ? {} : undefined;
  return path === "" ? { ...options, nodes, tls } : { ...options, sentinels: nodes, name: path, tls };
}

export function forZooKeeper(url: StoreUrl): ZooKeeperOptions {
  const { servers, path, username, password, callTimeoutMs, connectTimeoutMs } = url;
  return {
    servers: servers.map(({ host, port }) => `${host}:${port}`),
    root: path === "" ? undefined : `/${path}`,
    auth: password === undefined ? undefined : `${username}:${password}`,
    callTimeoutMs,
    connectTimeoutMs,
  };
}
