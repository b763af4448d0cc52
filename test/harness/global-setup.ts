import type { TestProject } from "vitest/node";
import { locateEtcds } from "../../scripts/servers/locate.mjs";
import { type Etcd, startEtcd } from "./etcd-process.ts";
import type { EtcdServer } from "./servers.ts";

let running: Etcd[] = [];

/** Before all tests: one etcd of each version there is, or those that ETCD_ENDPOINTS names (each its own, with spaces or commas between). */
export async function setup(project: TestProject): Promise<void> {
  const given = (process.env["ETCD_ENDPOINTS"] ?? "").split(/[\s,]+/).filter((endpoint) => endpoint !== "");
  const servers = given.length > 0 ? await Promise.all(given.map(visit)) : await start();
  project.provide("etcdServers", servers);
}

export async function teardown(): Promise<void> {
  await Promise.all(running.map((etcd) => etcd.stop()));
  running = [];
}

async function start(): Promise<EtcdServer[]> {
  return await Promise.all(
    locateEtcds().map(async ({ version, binary, etcdctl }) => {
      const etcd = await startEtcd({ binary });
      running.push(etcd);
      return { name: `etcd ${version}`, version, endpoint: etcd.endpoint, binary, etcdctl };
    }),
  );
}

async function visit(endpoint: string): Promise<EtcdServer> {
  try {
    const response = await fetch(new URL("/version", endpoint), { signal: AbortSignal.timeout(5_000) });
    const { etcdserver: version } = (await response.json()) as { etcdserver: string };
    return { name: `etcd ${version}`, version, endpoint, binary: undefined, etcdctl: undefined };
  } catch (cause) {
    throw new Error(`ETCD_ENDPOINTS: no etcd answers at ${endpoint}`, { cause });
  }
}
