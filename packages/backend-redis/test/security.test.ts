import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { makeCertificates } from "../../../test/harness/certificates.ts";
import { eventually } from "../../../test/harness/eventually.ts";
import { type Redis, startRedis, startRedisCluster } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { redis } from "../src/index.ts";
import { store } from "../src/script.ts";
import { commandsOf, harmlessCall } from "../src/self-test.ts";
import { binary, codeOf, connectTo, Follower, put, timed } from "./rig.ts";

/** All that a user of this library needs, besides what a script of ours calls. */
const own = ["evalsha", "eval", "xread", "info", "client|setname"];

function commandsNeeded(): readonly string[] {
  return [...own, ...commandsOf(store).map((command) => command.toLowerCase())];
}

const account = { username: "app", password: "canary-s3cret" };

function startWithUser(commands: readonly string[], keys = "~{conclave}:*"): Promise<Redis> {
  const rights = ["-@all", ...commands.map((command) => `+${command}`)].join(" ");
  return startRedis({
    binary: binary(),
    acl: [`user app on >${account.password} resetchannels ${keys} ${rights}`, "user default on >admin ~* &* +@all"],
    username: "default",
    password: "admin",
  });
}

/** Goes once through everything: commits, reads, leases that expire, watches. */
async function exercise(server: { readonly url: string }, options: object): Promise<void> {
  await using backend = await connectTo(server, options);
  await using other = await connectTo(server, options);
  const follower = await Follower.of(other, "k/");
  const lease = await backend.leases.grant({ ttlMs: 300 });
  await backend.kv.commit({ then: [put("k/a", "1", lease), put("k/b"), { delete: "k/c" }] });
  await lease.keepAlive();
  for (const order of ["key", "oldest", "newest"] as const) {
    expect((await backend.kv.list("k/", { order, limit: 1, createdBefore: 2n ** 53n })).entries).toHaveLength(1);
  }
  const conditions = [
    { prefix: "k/", noneModifiedAfter: 2n ** 53n },
    { key: "k/b", exists: true },
  ] as const;
  expect((await backend.kv.commit({ if: conditions, then: [put("k/d")] })).succeeded).toBe(true);
  await eventually(() => follower.changes.some(({ key, entry }) => key === "k/a" && entry === undefined));
  await follower.agreesWith(backend);
  expect(follower.state.size).toBe(2);
  await (await backend.leases.grant({ ttlMs: 60_000 })).revoke();
}

describe.each(redisBinaries())("a redis with users, on $name", () => {
  it("serves one who may do what is needed and nothing more, and finds nothing denied", async () => {
    await using server = await startWithUser(commandsNeeded());
    await exercise(server, account);
    await exercise({ url: server.url.replace("//", `//${account.username}:${account.password}@`) }, {});
    expect(await server.call("ACL", "LOG")).toEqual([]);
  });

  it.each(commandsNeeded().filter((command) => command !== "client|setname"))(
    "refuses at connect one who may not call %s, by that name, before anything is written",
    async (missing) => {
      await using server = await startWithUser(commandsNeeded().filter((command) => command !== missing));
      // Where the server knows our scripts it is not asked to take them in.
      if (missing === "evalsha" || missing === "eval") await server.call("SCRIPT", "FLUSH");
      const error = await connectTo(server, account).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: "DENIED", message: expect.stringMatching(new RegExp(missing, "i")) });
      expect(await server.call("DBSIZE")).toBe(0);
    },
  );

  it("refuses at connect one who may not touch the space's keys", async () => {
    await using server = await startWithUser(commandsNeeded(), "~{other}:*");
    expect(await codeOf(connectTo(server, account))).toBe("DENIED");
    await exercise(server, { ...account, space: "other" });
  });

  it("needs WAIT only of one who asked to wait", async () => {
    await using server = await startWithUser(commandsNeeded());
    const durability = { wait: { replicas: 1, timeoutMs: 100 } };
    const error = await connectTo(server, { ...account, durability }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "DENIED", message: expect.stringMatching(/wait/i) });
  });

  it("calls a wrong password and none DENIED at once, without repeating them", async () => {
    await using server = await startWithUser(commandsNeeded());
    for (const options of [{ ...account, password: "canary-wrong" }, { password: "canary-wrong" }, {}]) {
      const refused = await timed(connectTo(server, options).catch((error: unknown) => error));
      expect(refused.value).toMatchObject({ code: "DENIED" });
      expect(refused.tookMs).toBeLessThan(1_000);
      expect(inspect(refused.value, { depth: 10, showHidden: true })).not.toContain("canary");
    }
  });

  it("never shows what was to be stored, nor a password, in an error of any kind", async () => {
    await using server = await startWithUser(commandsNeeded());
    await using backend = await connectTo(server, account);
    await server.call("SET", "{conclave}:meta", "not ours");
    const unknown = await backend.kv.commit({ then: [put("k", "canary-value")] }).catch((error: unknown) => error);
    expect(unknown).toMatchObject({ code: "OUTCOME_UNKNOWN" });
    expect(inspect(unknown, { depth: 10, showHidden: true })).not.toContain("canary");
  });

  it("whose password changes denies calls and watches from the next connection on, until it is changed back", async () => {
    await using server = await startWithUser(commandsNeeded());
    await using backend = await connectTo(server, account);
    const follower = await Follower.of(backend, "k/");
    await server.call("ACL", "SETUSER", "app", "resetpass", ">another");
    await server.call("CLIENT", "KILL", "USER", "app");
    await eventually(async () => (await codeOf(backend.kv.get("k/a"))) === "DENIED");
    expect(await codeOf(backend.kv.commit({ then: [put("k/a")] }))).toBe("DENIED");
    await eventually(() => expect(follower.failure).toMatchObject({ code: "DENIED" }));
    await server.call("ACL", "SETUSER", "app", `>${account.password}`);
    await eventually(async () =>
      expect(await codeOf(backend.kv.commit({ then: [put("k/a")] }))).toHaveProperty("resolved"),
    );
  });

  it("that gives a default user a password takes those who bring it, and one without takes any", async () => {
    await using open = await startRedis({ binary: binary() });
    await exercise(open, { password: "whatever" });
    await using server = await startRedis({ binary: binary(), flags: ["--requirepass", "secret"], password: "secret" });
    await exercise(server, { password: "secret" });
    await exercise({ url: server.url.replace("//", "//:secret@") }, {});
  });
});

describe("what is tried at connect", () => {
  it("is what the README has operators allow, and nothing else", () => {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const line = /^user app on .*$/m.exec(readme)?.[0] ?? "";
    const allowed = [...line.matchAll(/ \+(\S+)/g)].map(([, command]) => command);
    expect(allowed.sort()).toEqual([...commandsNeeded()].sort());
  });

  it("is everything that the script calls", () => {
    expect(commandsOf(store).length).toBeGreaterThan(10);
    for (const command of commandsOf(store)) expect(harmlessCall(command), command).toBeDefined();
  });
});

describe.each(redisBinaries())("a redis with TLS, on $name", () => {
  it("is trusted by the authority we are given, and no other", async () => {
    using certificates = makeCertificates();
    await using server = await startRedis({ binary: binary(), tls: certificates });
    await exercise(server, { tls: { ca: certificates.ca } });
    using others = makeCertificates();
    for (const options of [{ tls: { ca: others.ca } }, {}, { tls: { ca: certificates.ca, serverName: "elsewhere" } }]) {
      const refused = await timed(codeOf(connectTo(server, options)));
      expect(refused.value).toBe("DENIED");
      expect(refused.tookMs).toBeLessThan(1_500);
    }
    await exercise(server, { tls: { ca: certificates.ca, serverName: "localhost" } });
  });

  it("that asks for certificates takes ours, and nobody without", async () => {
    using certificates = makeCertificates();
    const { ca, client } = certificates;
    await using server = await startRedis({ binary: binary(), tls: { ...certificates, clientCertificates: true } });
    await exercise(server, { tls: { ca, cert: client.cert, key: client.key } });
    const refused = await timed(codeOf(connectTo(server, { tls: { ca } })));
    expect(refused.value).toBe("DENIED");
    expect(refused.tookMs).toBeLessThan(1_500);
  });

  it("is not reached in the clear, nor a plain one by TLS", async () => {
    using certificates = makeCertificates();
    await using secure = await startRedis({ binary: binary(), tls: certificates });
    await using plain = await startRedis({ binary: binary() });
    const connectTimeoutMs = 500;
    expect(await codeOf(connectTo({ url: secure.url.replace("rediss", "redis") }, { connectTimeoutMs }))).toBe(
      "UNAVAILABLE",
    );
    expect(
      await codeOf(connectTo({ url: plain.url.replace("redis", "rediss") }, { connectTimeoutMs })),
    ).not.toHaveProperty("resolved");
  });
});

describe.each(redisBinaries())("a cluster with TLS and users, on $clusterName", () => {
  it("serves who may do what is needed and nothing more, at whichever member", async () => {
    using certificates = makeCertificates();
    const rights = [...commandsNeeded(), "cluster|slots"].map((command) => `+${command}`).join(" ");
    await using cluster = await startRedisCluster({
      binary: binary(),
      tls: certificates,
      flags: ["--tls-cluster", "yes"],
      acl: [
        `user app on >${account.password} resetchannels ~{conclave}:* -@all ${rights}`,
        "user default on nopass ~* &* +@all",
      ],
    });
    for (const { port } of cluster.members) {
      const nodes = [{ host: "127.0.0.1", port }];
      await using backend = await redis({ nodes, ...account, tls: { ca: certificates.ca } }).connect();
      const follower = await Follower.of(backend, "k/");
      await backend.kv.commit({ then: [put(`k/${port}`)] });
      await eventually(() => follower.state.size === 1);
    }
    for (const member of cluster.members) expect(await member.call("ACL", "LOG")).toEqual([]);
  });
});

describe.each(redisBinaries())("a redis that does not suit, on $name", () => {
  it.each(["allkeys-lru", "allkeys-lfu", "allkeys-random"])("may evict locks (%s) and is refused", async (policy) => {
    await using server = await startRedis({ binary: binary(), flags: ["--maxmemory-policy", policy] });
    const error = await connectTo(server).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "UNSUPPORTED", message: expect.stringContaining(policy) });
  });

  it.each(["noeviction", "volatile-lru", "volatile-ttl"])(
    "evicts nothing of ours (%s) and loses no key under pressure",
    async (policy) => {
      await using server = await startRedis({ binary: binary(), flags: ["--maxmemory-policy", policy] });
      await using backend = await connectTo(server);
      await server.call("CONFIG", "SET", "maxmemory", "3mb");
      let kept = 0;
      while ((await codeOf(backend.kv.commit({ then: [put(`k/${kept}`, "x".repeat(50_000))] }))) !== "LIMIT") kept++;
      expect(kept).toBeGreaterThan(10);
      expect((await backend.kv.list("k/", { keysOnly: true })).entries).toHaveLength(kept);
      expect((await server.info("stats"))["evicted_keys"]).toBe("0");
    },
  );

  it("is a member of a cluster, or is none, otherwise than it was said to be, and is refused", async () => {
    await using single = await startRedis({ binary: binary() });
    await using member = await startRedis({ binary: binary(), flags: ["--cluster-enabled", "yes"] });
    const nodes = [{ host: "127.0.0.1", port: single.port }];
    expect(await codeOf(connectTo(member))).toBe("UNSUPPORTED");
    expect(await codeOf(redis({ nodes }).connect())).toBe("UNSUPPORTED");
  });

  it("keeps no file, or has replicas nobody waits for, or too few, and its operator is told", async () => {
    const warningsOf = async (server: Redis, options = {}): Promise<readonly string[]> => {
      const warnings: string[] = [];
      const backend = await redis({ url: server.url, ...options }).connect({
        onWarning: (warning) => warnings.push(warning),
      });
      await backend[Symbol.asyncDispose]();
      return warnings;
    };
    await using durable = await startRedis({ binary: binary(), appendOnly: "always" });
    await using forgetful = await startRedis({ binary: binary() });
    expect(await warningsOf(durable)).toEqual([]);
    expect(await warningsOf(forgetful)).toEqual([expect.stringContaining("no append-only file")]);
    await using _replica = await startRedis({ binary: binary(), replicaOf: durable });
    expect(await warningsOf(durable)).toEqual([expect.stringContaining("1 replica that it does not wait for")]);
    expect(await warningsOf(durable, { durability: { wait: { replicas: 1, timeoutMs: 100 } } })).toEqual([]);
    expect(await warningsOf(durable, { durability: { wait: { replicas: 2, timeoutMs: 100 } } })).toEqual([
      expect.stringContaining("asks for 2 replicas and Redis has 1"),
    ]);
  });
});
