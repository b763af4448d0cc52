import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { makeCertificates } from "./certificates.ts";
import { enableAuth, startCluster, startEtcd } from "./etcd-process.ts";
import { etcdBinaries } from "./servers.ts";

describe.each(etcdBinaries())("an $name of our own", ({ binary }) => {
  test("keeps its data and port over a kill and a restart", async () => {
    await using etcd = await startEtcd({ binary });
    const { endpoint, pid } = etcd;
    await etcd.etcdctl("put", "key", "value");
    await etcd.kill();
    expect(() => etcd.pid).toThrow("not running");
    await etcd.restart();
    expect(etcd.endpoint).toBe(endpoint);
    expect(etcd.pid).not.toBe(pid);
    expect(await etcd.etcdctl("get", "key")).toBe("key\nvalue\n");
  });

  test("does not answer while paused, and does after", async () => {
    await using etcd = await startEtcd({ binary });
    etcd.pause();
    const answer = etcd.call("/v3/maintenance/status").then(() => performance.now());
    await sleep(300);
    const resumed = performance.now();
    etcd.resume();
    expect(await answer).toBeGreaterThan(resumed);
  });

  test("can ask for a password, and for certificates", async () => {
    using certificates = makeCertificates();
    await using etcd = await startEtcd({ binary, tls: { ...certificates, clientCertificates: true } });
    expect(etcd.endpoint).toMatch(/^https:/);
    await etcd.etcdctl("put", "key", "value");
    await expect(fetch(`${etcd.endpoint}/version`)).rejects.toThrow();
    await enableAuth(etcd, { password: "secret" });
    expect(await etcd.etcdctl("--user", "root:secret", "get", "key")).toBe("key\nvalue\n");
    await expect(etcd.call("/v3/kv/range", { key: "a2V5" })).rejects.toThrow();
  });

  test("as three, elects another leader when the first is killed", async () => {
    await using cluster = await startCluster({ binary });
    const first = await cluster.leader();
    await first.kill();
    const second = await cluster.leader();
    expect(cluster.members).toContain(second);
    expect(second).not.toBe(first);
  });
});

test("says why an etcd would not start", async () => {
  const binary = etcdBinaries()[0]?.binary ?? "/no/such/etcd";
  await expect(startEtcd({ binary, flags: ["--no-such-flag"] })).rejects.toThrow("etcd ended while it started");
});
