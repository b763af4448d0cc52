import { describe, expect, it } from "vitest";
import { type RedisOptions, redis } from "../src/index.ts";
import { settingsFrom } from "../src/options.ts";

const url = "redis://127.0.0.1:6379";
const nodes = [{ host: "127.0.0.1", port: 6379 }];

describe("redis()", () => {
  it("takes what can be meant, and does nothing yet", () => {
    for (const options of [
      { url },
      { url: "redis://localhost" },
      { url: "rediss://[::1]:6380/3", tls: { serverName: "redis" } },
      { url: "redis://app:p%40ss@a:1/15", space: "my app", callTimeoutMs: 1, connectTimeoutMs: 1 },
      { url, username: "app", password: "", durability: { wait: { replicas: 1, timeoutMs: 0.5 } } },
      { nodes, tls: {} },
      { sentinels: nodes, name: "main", password: "p", sentinelPassword: "q", username: undefined },
    ]) {
      expect(typeof redis(options).connect).toBe("function");
    }
  });

  it("reads a URL's host, port, database, user and password, and knows TLS by its scheme", () => {
    expect(settingsFrom({ url: "rediss://app:p%40ss%2F@redis.example:6380/7" })).toMatchObject({
      topology: { kind: "single", seeds: [{ host: "redis.example", port: 6380 }] },
      user: { name: "app", password: "p@ss/" },
      db: 7,
      tls: { ca: undefined },
    });
    expect(settingsFrom({ url: "redis://:secret@[::1]" })).toMatchObject({
      topology: { seeds: [{ host: "::1", port: 6379 }] },
      user: { name: "default", password: "secret" },
      db: 0,
      tls: undefined,
      space: "conclave",
      callTimeoutMs: 5_000,
      connectTimeoutMs: 5_000,
    });
  });

  it.each([
    [undefined, "the options of redis must be an object, not undefined"],
    [{}, "redis must be given one of url, nodes (of a cluster), or sentinels with a name"],
    [{ url, nodes }, "redis must be given one of url, nodes (of a cluster), or sentinels with a name"],
    [{ url, host: "a" }, 'redis has no option "host"; it takes url'],
    [{ url: 7 }, "url must be a URL like redis://127.0.0.1:6379"],
    [{ url, name: "main" }, "sentinels and name must be given together"],
    [{ sentinels: nodes }, "sentinels and name must be given together"],
    [{ sentinels: nodes, name: "" }, "name must be the primary's name among the sentinels"],
    [{ sentinels: [], name: "main" }, "sentinels must name at least one server"],
    [{ nodes: "a:1" }, 'nodes must be an array of { host, port }, not "a:1"'],
    [{ nodes: ["a:1"] }, 'nodes[0] must be an object { host, port }, not "a:1"'],
    [{ nodes: [{ host: "a", port: 0 }] }, "nodes[0].port must be a whole number from 1 to 65535, not 0"],
    [{ nodes: [{ host: "", port: 1 }] }, "nodes[0].host must be a host name or an IP address"],
    [{ nodes: [{ host: "a", port: "1" }] }, 'nodes[0].port must be a number, not "1"'],
    [{ nodes: [{ host: "a", port: 1, db: 1 }] }, 'nodes[0] has no option "db"'],
    [{ url, username: "app" }, "password must be a string, and is needed with username"],
    [{ url, username: "", password: "canary" }, "username must be the user that password belongs to"],
    [{ url: "redis://:canary@a", password: "canary" }, "username and password must be given in url or beside it"],
    [{ url, sentinelPassword: "canary" }, "sentinelUsername and sentinelPassword need sentinels"],
    [{ url, space: "" }, "space must be a name without braces"],
    [{ url, space: "a{b}" }, 'space must be a name without braces, not "a{b}"'],
    [{ url, space: "x".repeat(101) }, "space must be at most 100 bytes of UTF-8"],
    [{ url, callTimeoutMs: 0 }, "callTimeoutMs must be more than 0"],
    [{ url, connectTimeoutMs: "5" }, "connectTimeoutMs must be a number of milliseconds"],
    [{ url, clock: {} }, "clock must be a Clock"],
    [{ url, durability: {} }, "durability.wait must be an object { replicas, timeoutMs }, not undefined"],
    [{ url, durability: { aof: true } }, 'durability has no option "aof"; it takes wait'],
    [
      { url, durability: { wait: { replicas: 0, timeoutMs: 1 } } },
      "durability.wait.replicas must be a whole number from 1 to 100, not 0",
    ],
    [{ url, durability: { wait: { replicas: 1 } } }, "durability.wait.timeoutMs must be a number of milliseconds"],
    [
      { url, durability: { wait: { replicas: 1, timeoutMs: 1, quorum: 2 } } },
      'durability.wait has no option "quorum"; it takes replicas, timeoutMs',
    ],
    [{ url, tls: {} }, "tls needs a url that starts with rediss://"],
    [{ url: "rediss://a", tls: { rejectUnauthorized: false } }, 'tls has no option "rejectUnauthorized"'],
    [{ nodes, tls: { cert: "canary" } }, "tls.cert and tls.key must be given together"],
    [{ nodes, tls: { ca: 7 } }, "tls.ca must be PEM, as a string or a Buffer"],
    [{ nodes, tls: { cert: "canary", key: "canary" } }, "tls must hold PEM certificates"],
  ])("refuses %j, saying why", (options, message) => {
    const attempt = () => redis(options as unknown as RedisOptions);
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(expect.toSatisfy((error) => error instanceof TypeError || error instanceof RangeError));
    expect(attempt).not.toThrow(/canary/);
  });

  it.each([
    "127.0.0.1:6379",
    "http://a",
    "redis://",
    "redis://a:99999",
    "redis://a:0",
    "redis://a/canary",
    "redis://a/1/2",
    "redis://a?password=canary",
    "redis://a#canary",
    "redis://canary@a",
    "redis://u:%canary@a",
    "",
  ])("refuses the url %j at once, without repeating it", (given) => {
    expect(() => redis({ url: given })).toThrow(/^(url|the user( and password)? of url) must/);
    expect(() => redis({ url: given })).not.toThrow(/canary/);
  });

  it("refuses misspelt options of connect", async () => {
    const misspelt = { onWarn: () => {} } as object;
    await expect(redis({ url }).connect(misspelt)).rejects.toThrow('connect has no option "onWarn"');
  });

  it("does not connect on a signal that was aborted", async () => {
    const reason = new Error("enough");
    await expect(redis({ url }).connect({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
