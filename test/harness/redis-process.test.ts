import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { makeCertificates } from "./certificates.ts";
import { eventually } from "./eventually.ts";
import { startRedis, startRedisCluster, startSentinel } from "./redis-process.ts";
import { redisBinaries } from "./servers.ts";

describe.each(redisBinaries())("a $name of our own", { timeout: 60_000 }, ({ binary, faketime }) => {
  test("forgets what it had over a kill, unless told to append", async () => {
    await using forgetful = await startRedis({ binary });
    await using diligent = await startRedis({ binary, appendOnly: "always" });
    for (const redis of [forgetful, diligent]) {
      const { port, pid } = redis;
      await redis.call("SET", "key", "value");
      await redis.kill();
      expect(() => redis.pid).toThrow("not running");
      await redis.restart();
      expect(redis.port).toBe(port);
      expect(redis.pid).not.toBe(pid);
    }
    expect(await forgetful.call("GET", "key")).toBe(null);
    expect(await diligent.call("GET", "key")).toBe("value");
  });

  test("does not answer while paused, and does after", async () => {
    await using redis = await startRedis({ binary });
    redis.pause();
    const answer = redis.call("PING").then(() => performance.now());
    await sleep(300);
    const resumed = performance.now();
    redis.resume();
    expect(await answer).toBeGreaterThan(resumed);
  });

  test("can ask for a password, and for certificates", async () => {
    using certificates = makeCertificates();
    const acl = ["user default off", "user app on >secret ~app:* +@all"];
    const tls = { ...certificates, clientCertificates: true };
    await using redis = await startRedis({ binary, tls, acl, username: "app", password: "secret" });
    expect(redis.url).toMatch(/^rediss:/);
    expect(await redis.call("SET", "app:key", "value")).toBe("OK");
    await expect(redis.call("SET", "other", "value")).rejects.toThrow("NOPERM");
  });

  test("follows another, and can be promoted", async () => {
    await using primary = await startRedis({ binary });
    await primary.call("SET", "key", "value");
    await using replica = await startRedis({ binary, replicaOf: primary });
    expect(await replica.call("GET", "key")).toBe("value");
    await expect(replica.call("SET", "key", "other")).rejects.toThrow("READONLY");
    await replica.promote();
    expect(await replica.call("SET", "key", "other")).toBe("OK");
    await primary.follow(replica);
    expect(await primary.call("GET", "key")).toBe("other");
  });

  test("has a wall clock that steps forward and back, while its other clock goes on", async () => {
    await using redis = await startRedis({ binary, faketime });
    const now = async () => {
      const [seconds, micros] = (await redis.call("TIME")) as [string, string];
      return Number(seconds) * 1_000 + Number(micros) / 1_000 - Date.now();
    };
    expect(Math.abs(await now())).toBeLessThan(500);
    redis.stepClock(60_000);
    expect(Math.abs((await now()) - 60_000)).toBeLessThan(500);
    redis.stepClock(-90_000);
    expect(Math.abs((await now()) + 30_000)).toBeLessThan(500);
    expect(Number((await redis.info("server"))["uptime_in_seconds"])).toBeLessThan(10);
  });

  test("as two, forms a cluster whose slots can move", async () => {
    await using cluster = await startRedisCluster({ binary });
    const [first, second] = cluster.members;
    if (!first || !second) throw new Error("two members are expected");
    const slot = Number(await first.call("CLUSTER", "KEYSLOT", "a"));
    expect(await second.call("SET", "a", "1")).toBe("OK");
    await cluster.moveSlot(slot, first);
    expect(await first.call("GET", "a")).toBe("1");
    await expect(second.call("GET", "a")).rejects.toThrow(`MOVED ${slot}`);
  });

  test("is failed over by a sentinel when it dies", async () => {
    await using primary = await startRedis({ binary });
    await using replica = await startRedis({ binary, replicaOf: primary });
    await using sentinel = await startSentinel({ binary, primary, downAfterMs: 500 });
    await eventually(async () => (await sentinel.info("sentinel"))["master0"]?.includes("slaves=1") ?? false, {
      timeoutMs: 12_000,
    });
    await primary.kill();
    const named = async () => await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main");
    await eventually(async () => String(await named()) === `127.0.0.1,${replica.port}`, { timeoutMs: 12_000 });
    expect(await replica.call("SET", "key", "value")).toBe("OK");
  });
});

test("says why a redis would not start", async () => {
  const binary = redisBinaries()[0]?.binary ?? "/no/such/redis";
  await expect(startRedis({ binary, flags: ["--no-such-flag", "1"] })).rejects.toThrow("redis ended while it started");
});
