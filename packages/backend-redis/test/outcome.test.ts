import { connect } from "@conclave/core";
import { CoordinationError } from "@conclave/core/backend";
import { describe, expect, it } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { startRedis } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { failureOf, movedTo, NotSent, verdictOn } from "../src/outcome.ts";
import { binary, codeOf, connectThrough, connectTo, put, timed } from "./rig.ts";

function reply(message: string): Error {
  return Object.assign(new Error(message), { name: "ReplyError" });
}

const inScript = "script: dbaf9c089c3dc14ffe5ac7ce6829db59c635101a, on @user_script:1.";

describe("what an error says", () => {
  it.each([
    ["LOADING Redis is loading the dataset in memory", true, undefined, false],
    ["BUSY Redis is busy running a script.", true, undefined, false],
    [`NOREPLICAS Not enough good replicas to write. ${inScript}`, true, undefined, false],
    ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", true, undefined, false],
    ["TRYAGAIN Multiple keys request during rehashing of slot", true, undefined, false],
    ["ASK 3999 127.0.0.1:6381", true, undefined, false],
    ["CLUSTERDOWN The cluster is down", true, undefined, false],
    ["MOVED 3999 127.0.0.1:6381", true, undefined, true],
    [`READONLY You can't write against a read only replica. ${inScript}`, true, undefined, true],
    ["UNBLOCKED force unblock from blocking operation, instance state changed", true, undefined, true],
    [`OOM command not allowed when used memory > 'maxmemory'. ${inScript}`, true, "LIMIT", false],
    ["MISCONF Redis is configured to save RDB snapshots, but it's unable to persist on disk", true, "LIMIT", false],
    ["NOAUTH Authentication required.", true, "DENIED", false],
    ["WRONGPASS invalid username-password pair or user is disabled.", true, "DENIED", false],
    ["NOPERM this user has no permissions to run the 'evalsha' command", true, "DENIED", false],
    ["DENIED Redis is running in protected mode", true, "DENIED", false],
    ["ERR unknown command 'EVALSHA'", true, "UNSUPPORTED", false],
    ["ERR DB index is out of range", true, "UNSUPPORTED", false],
    // What a script had done before it failed is done.
    [`ERR The user executing the script can't run this command or subcommand ${inScript}`, false, "DENIED", false],
    [
      `NOPERM ACL failure in script: User app has no permissions to run the 'xadd' command ${inScript}`,
      false,
      "DENIED",
      false,
    ],
    [`WRONGTYPE Operation against a key holding the wrong kind of value ${inScript}`, false, "CORRUPT", false],
    [`ERR user_script:1: attempt to index a nil value ${inScript}`, false, "UNAVAILABLE", false],
    ["ERR something that nobody has heard of", false, "UNAVAILABLE", false],
    // What stands between us and the server may say anything, also of what it has passed on.
    ["upstream failure", false, "UNAVAILABLE", false],
    ["TIMEOUT the backend gave no answer", false, "UNAVAILABLE", false],
    // How Redis 6.2 says it.
    [
      "ERR Error running script (call to f_ab): @user_script:1: @user_script: 1: -READONLY You can't write",
      true,
      undefined,
      true,
    ],
    [
      "ERR Error running script (call to f_ab): @user_script:1: @user_script: 1: -OOM command not allowed",
      true,
      "LIMIT",
      false,
    ],
    [
      "ERR Error running script (call to f_ab): @user_script:1: @user_script: 1: -NOPERM The user executing the script can't run this command or subcommand",
      false,
      "DENIED",
      false,
    ],
  ])("%s", (message, untouched, code, elsewhere) => {
    expect(verdictOn(reply(message))).toEqual({ untouched, code, elsewhere });
  });

  it("tells a call that never left from one that may have been carried out", () => {
    expect(verdictOn(new NotSent("no connection")).untouched).toBe(true);
    expect(verdictOn(new Error("read ECONNRESET"))).toEqual({ untouched: false, code: undefined, elsewhere: false });
    expect(verdictOn("anything")).toEqual({ untouched: false, code: undefined, elsewhere: false });
  });

  it("knows certificates that are not trusted from connections that break", () => {
    for (const code of [
      "SELF_SIGNED_CERT_IN_CHAIN",
      "ERR_TLS_CERT_ALTNAME_INVALID",
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    ]) {
      expect(verdictOn(Object.assign(new Error("no"), { code })).code).toBe("DENIED");
    }
  });

  it("knows where a cluster sends us", () => {
    expect(movedTo(reply("MOVED 3999 10.0.0.1:6381"))).toEqual({ host: "10.0.0.1", port: 6381 });
    expect(movedTo(reply("MOVED 3999 ::1:6381"))).toEqual({ host: "::1", port: 6381 });
    expect(movedTo(reply("MOVED 3999 :6381"))).toEqual({ host: "", port: 6381 });
    expect(movedTo(reply("ASK 3999 10.0.0.1:6381"))).toBe(undefined);
    expect(movedTo(new Error("MOVED 3999 10.0.0.1:6381"))).toBe(undefined);
  });

  it("is unknown for a write that may be applied, whatever the server complained of, and never for a read", () => {
    const lost = reply(`ERR The user executing the script can't run this command or subcommand ${inScript}`);
    expect(failureOf(lost, { name: "commit", effect: "write" }, true)).toMatchObject({
      code: "OUTCOME_UNKNOWN",
      cause: lost,
    });
    expect(failureOf(lost, { name: "list", effect: "read" }, true)).toMatchObject({ code: "DENIED" });
    const closed = new CoordinationError("CLOSED", "closed");
    expect(failureOf(closed, { name: "commit", effect: "write" }, true)).toBe(closed);
  });
});

describe.each(redisBinaries())("a redis, on $name", () => {
  it("that is full refuses what would fill it further as LIMIT, and takes what makes room", async () => {
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    const lease = await backend.leases.grant({ ttlMs: 60_000 });
    await backend.kv.commit({ then: [put("a", "x".repeat(1_000)), put("b", "", lease)] });
    await server.call("CONFIG", "SET", "maxmemory", "1");
    expect(await codeOf(backend.kv.commit({ then: [put("c")] }))).toBe("LIMIT");
    expect(await codeOf(backend.leases.grant({ ttlMs: 60_000 }))).toBe("LIMIT");
    expect((await backend.kv.list("")).entries.map(({ key }) => key)).toEqual(["a", "b"]);
    expect(await lease.keepAlive()).toBe(60_000);
    expect((await backend.kv.commit({ then: [{ delete: "a" }] })).results).toEqual([true]);
    await lease.revoke();
    // Who comes to make room must be let in.
    await using another = await connectTo(server);
    expect((await another.kv.list("")).entries).toEqual([]);
  });

  it("that cannot write its snapshot refuses writes as LIMIT", async () => {
    await using server = await startRedis({ binary: binary(), flags: ["--enable-protected-configs", "yes"] });
    await using backend = await connectTo(server);
    await server.call("CONFIG", "SET", "save", "3600 1000000");
    await server.call("CONFIG", "SET", "dir", "/proc");
    await server.call("BGSAVE");
    await eventually(async () => (await server.info("persistence"))["rdb_last_bgsave_status"] === "err");
    expect(await codeOf(backend.kv.commit({ then: [put("a")] }))).toBe("LIMIT");
    await server.call("CONFIG", "SET", "save", "");
    expect((await backend.kv.commit({ if: [{ key: "a", exists: false }], then: [put("a")] })).succeeded).toBe(true);
  });

  it("with too few replicas serves neither writes nor reads, applies nothing, and takes what waited when they are back", async () => {
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    await server.call("CONFIG", "SET", "min-replicas-to-write", "1");
    const refused = await timed(codeOf(backend.kv.commit({ then: [put("a")] }, { timeoutMs: 300 })));
    expect(refused).toMatchObject({ value: "UNAVAILABLE" });
    expect(refused.tookMs).toBeGreaterThan(150);
    expect(refused.tookMs).toBeLessThan(600);
    expect(await codeOf(backend.kv.get("a", { timeoutMs: 300 }))).toBe("UNAVAILABLE");
    const waiting = backend.kv.commit({ if: [{ key: "a", exists: false }], then: [put("a")] });
    await server.call("CONFIG", "SET", "min-replicas-to-write", "0");
    expect((await waiting).succeeded).toBe(true);
  });

  it("that was demoted answers neither writes nor reads, which would be old", async () => {
    await using primary = await startRedis({ binary: binary() });
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    await backend.kv.commit({ then: [put("a")] });
    await server.follow(primary);
    expect(await codeOf(backend.kv.get("a", { timeoutMs: 300 }))).toBe("UNAVAILABLE");
    expect(await codeOf(backend.kv.commit({ then: [put("b")] }, { timeoutMs: 300 }))).toBe("UNAVAILABLE");
    expect(await codeOf(connectTo(server, { connectTimeoutMs: 300 }))).toBe("UNAVAILABLE");
    const waiting = backend.kv.commit({ if: [{ key: "c", exists: false }], then: [put("c")] });
    await server.promote();
    expect((await waiting).succeeded).toBe(true);
  });

  it("that is busy with another's script is asked again, and does a write once", async () => {
    await using server = await startRedis({ binary: binary(), flags: ["--busy-reply-threshold", "20"] });
    await using backend = await connectTo(server);
    const hog = server.call("EVAL", "while true do end", "0").catch((error: Error) => error.message);
    await eventually(async () => (await codeOf(server.call("GET", "any"))) instanceof Error);
    expect(await codeOf(backend.kv.get("a", { timeoutMs: 200 }))).toBe("UNAVAILABLE");
    const waiting = backend.kv.commit({ if: [{ key: "a", exists: false }], then: [put("a")] });
    await server.call("SCRIPT", "KILL");
    expect(await hog).toMatch(/kill/i);
    expect((await waiting).succeeded).toBe(true);
  });

  it("that reads its files again is waited for", async () => {
    await using server = await startRedis({
      binary: binary(),
      appendOnly: "always",
      flags: ["--key-load-delay", "500"],
    });
    await using backend = await connectTo(server);
    for (let index = 0; index < 300; index++) await backend.kv.commit({ then: [put(`k/${index}`)] });
    await server.kill();
    const back = server.restart();
    let loading = 0;
    const seen = await eventually(
      async () => {
        const result = await codeOf(backend.kv.list("k/", { keysOnly: true, timeoutMs: 100 }));
        if (result === "UNAVAILABLE") loading++;
        return typeof result === "object" ? (result as { resolved: { entries: readonly unknown[] } }) : false;
      },
      { timeoutMs: 10_000 },
    );
    await back;
    expect(loading).toBeGreaterThan(3);
    expect(seen.resolved.entries).toHaveLength(300);
  });

  it("whose keys somebody else wrote gives reads as CORRUPT, and leaves writes unknown", async () => {
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    await server.call("SET", "{conclave}:meta", "not ours");
    expect(await codeOf(backend.kv.get("a"))).toBe("CORRUPT");
    expect(await codeOf(backend.kv.commit({ then: [put("a")] }))).toBe("OUTCOME_UNKNOWN");
  });

  it("that must wait for replicas calls a write done when they have it, and unknown when too few do", async () => {
    await using server = await startRedis({ binary: binary() });
    await using replica = await startRedis({ binary: binary(), replicaOf: server });
    await using backend = await connectTo(server, { durability: { wait: { replicas: 1, timeoutMs: 1_000 } } });
    // A replica counts from when it first says how far it is.
    await eventually(async () => (await server.info("replication"))["slave0"]?.includes("state=online") === true);
    for (let index = 0; index < 20; index++) {
      await backend.kv.commit({ then: [put("n", `${index}`)] });
      // It has it already: there is nothing to wait for.
      expect(String(await replica.call("HGET", "{conclave}:entries", "n"))).toMatch(new RegExp(`-${index}$`));
    }
    await using hasty = await connectTo(server, { durability: { wait: { replicas: 1, timeoutMs: 200 } } });
    replica.pause();
    const late = await timed(codeOf(hasty.kv.commit({ then: [put("late")] })));
    expect(late.value).toBe("OUTCOME_UNKNOWN");
    expect(late.tookMs).toBeLessThan(1_500);
    expect((await backend.kv.get("late"))?.key).toBe("late");
    replica.resume();
    await eventually(async () =>
      expect(await codeOf(backend.kv.commit({ then: [put("back")] }))).toHaveProperty("resolved"),
    );
  });

  it("that must wait for replicas ends sessions while too few answer, and serves new ones when they are back", async () => {
    await using server = await startRedis({ binary: binary() });
    await using replica = await startRedis({ binary: binary(), replicaOf: server });
    await eventually(async () => (await server.info("replication"))["slave0"]?.includes("state=online") === true);
    await using backend = await connectTo(server, { durability: { wait: { replicas: 1, timeoutMs: 100 } } });
    await using conclave = await connect(backend, { ttlMs: 1_500 });
    const hold = await conclave.mutex("m").acquire();
    const lost = new Promise((resolve) => hold.signal.addEventListener("abort", resolve, { once: true }));
    replica.pause();
    const told = await timed(lost);
    expect(hold.signal.reason).toMatchObject({ code: "LEASE_LOST" });
    expect(told.tookMs).toBeLessThan(1_700);
    replica.resume();
    const next = await conclave.mutex("m").acquire();
    expect(next.token).toBeGreaterThan(hold.token);
  });

  it("that stands still leaves a write unknown and a read unavailable, each at its deadline", async () => {
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    await backend.kv.get("a");
    server.pause();
    const [write, read] = await Promise.all([
      timed(codeOf(backend.kv.commit({ then: [put("a")] }, { timeoutMs: 300 }))),
      timed(codeOf(backend.kv.get("a", { timeoutMs: 300 }))),
    ]);
    expect([write.value, read.value]).toEqual(["OUTCOME_UNKNOWN", "UNAVAILABLE"]);
    for (const { tookMs } of [write, read]) expect(tookMs).toBeLessThan(600);
    server.resume();
    expect((await backend.kv.get("a"))?.key).toBe("a");
  });

  it("whose connection breaks leaves a write unknown at once, while a read is asked again", async () => {
    await using server = await startRedis({ binary: binary() });
    await using rig = await connectThrough(server);
    await rig.backend.kv.get("a");
    server.pause();
    const write = timed(codeOf(rig.backend.kv.commit({ then: [put("a")] })));
    const read = rig.backend.kv.get("a");
    await new Promise((resolve) => setTimeout(resolve, 50));
    rig.proxy.cut();
    const { value, tookMs } = await write;
    expect(value).toBe("OUTCOME_UNKNOWN");
    expect(tookMs).toBeLessThan(500);
    server.resume();
    await expect(read).resolves.toBeDefined();
  });

  it("that is gone leaves a write surely undone", async () => {
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    await server.kill();
    await eventually(async () => (await codeOf(backend.kv.get("a", { timeoutMs: 50 }))) === "UNAVAILABLE");
    expect(await codeOf(backend.kv.commit({ then: [put("a")] }, { timeoutMs: 300 }))).toBe("UNAVAILABLE");
    const waiting = backend.kv.commit({ if: [{ key: "a", exists: false }], then: [put("a")] });
    await server.restart();
    expect((await waiting).succeeded).toBe(true);
  });
});
