import { etcd } from "@conclave/backend-etcd";
import { redis } from "@conclave/backend-redis";
import { zookeeper } from "@conclave/backend-zookeeper";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { forEtcd, forRedis, forZooKeeper } from "../src/adapters.ts";
import { schemes } from "../src/schemes.ts";
import { parse } from "../src/store-url.ts";

const names = Object.keys(schemes);
const served = names.filter((name) => schemes[name]?.port !== undefined);

/** Texts with all that means something in a URL. */
const text = fc.string({
  unit: fc.oneof(fc.constantFrom(..."%@:/?#&=+,[]{}. "), fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 })),
  minLength: 1,
  maxLength: 12,
});
const plain = text.filter((value) => value.isWellFormed() && !value.includes("\0"));
const userName = plain.filter((value) => !value.includes(":"));
const host = fc.constantFrom("db", "db-1.example", "my_redis", "127.0.0.1", "[::1]", "[2001:db8::7]", "localhost");
const server = fc.record({ host, port: fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }) });
const path = {
  etcd: fc.constantFrom("", "/"),
  redis: fc.constantFrom("", "/", "/0", "/15"),
  zookeeper: fc
    .array(
      plain.filter((segment) => !/^\.{1,2}$|[/\p{Cc}\p{Co}\ufff0-\u{10ffff}]/u.test(segment)),
      { maxLength: 3 },
    )
    .map((segments) => segments.map((segment) => `/${segment}`).join("")),
};

/** What a URL says, and the URL. */
const said = fc.constantFrom(...served).chain((name) => {
  const { store, several, port, secure, credentials } = schemes[name] as (typeof schemes)[string];
  const sentinel = name.endsWith("+sentinel");
  return fc
    .record({
      servers: fc.array(server, { minLength: 1, maxLength: several ? 3 : 1 }),
      user: fc.option(
        fc.record({
          name: credentials === "password" ? fc.oneof(fc.constant(""), userName) : userName,
          password: plain,
        }),
        { nil: undefined },
      ),
      path: sentinel
        ? plain.filter((value) => !value.includes("/")).map((value) => `/${value}`)
        : several && store === "redis"
          ? fc.constantFrom("", "/")
          : path[store as "etcd" | "redis" | "zookeeper"],
      callTimeoutMs: fc.option(fc.integer({ min: 1, max: 60_000 }), { nil: undefined }),
      connectTimeoutMs: fc.option(fc.integer({ min: 1, max: 60_000 }), { nil: undefined }),
      space: fc.option(store === "redis" ? plain.filter((value) => !/[{}]/.test(value)) : fc.constant(undefined), {
        nil: undefined,
      }),
    })
    .map((parts) => {
      const query = (["callTimeoutMs", "connectTimeoutMs", "space"] as const)
        .filter((key) => parts[key] !== undefined)
        .map((key) => `${key}=${encodeURIComponent(String(parts[key]))}`)
        .join("&");
      const user = parts.user && `${encodeURIComponent(parts.user.name)}:${encodeURIComponent(parts.user.password)}@`;
      const list = parts.servers.map(({ host, port }) => `${host}${port === undefined ? "" : `:${port}`}`).join(",");
      const where = parts.path.split("/").map(encodeURIComponent).join("/");
      const url = `${name}://${user ?? ""}${list}${where}${query === "" ? "" : `?${query}`}`;
      return { ...parts, name, url, defaultPort: port as number, secure };
    });
});

describe("a store's URL", () => {
  test("says what was put into it", () => {
    fc.assert(
      fc.property(said, ({ url, name, servers, user, path, callTimeoutMs, connectTimeoutMs, space, defaultPort }) => {
        expect(parse(url)).toEqual({
          scheme: schemes[name],
          servers: servers.map(({ host, port = defaultPort }) => ({ host, port })),
          username: user?.name || undefined,
          password: user?.password,
          path: path.replace(/^\//, ""),
          callTimeoutMs,
          connectTimeoutMs,
          space,
        });
      }),
      { numRuns: 500 },
    );
  });

  test("that is taken is one that its adapter takes", () => {
    fc.assert(
      fc.property(said, ({ url }) => {
        const parsed = parse(url);
        if (parsed.scheme.store === "etcd") etcd(forEtcd(parsed));
        else if (parsed.scheme.store === "redis") redis(forRedis(parsed));
        else zookeeper(forZooKeeper(parsed));
      }),
      { numRuns: 300 },
    );
  });

  test.each<[url: string, message: RegExp]>([
    ["", /^url must begin with memory:, etcd:\/\/, .* or zookeeper:\/\/$/],
    ["127.0.0.1:2379", /^url must begin with .* or zookeeper:\/\/$/],
    ["postgres://u:pw@h/db", /, not with postgres:\/\/$/],
    ["constructor://h", /, not with constructor:\/\/$/],
    ["etcd:127.0.0.1:2379", /two slashes come before the servers$/],
    ["etcd://", /a server is host or host:port, with a port from 1 to 65535, not ""$/],
    ["etcd://a,,b", /, not ""$/],
    ["etcd://u:pw@a:70000", /, not "a:70000"$/],
    ["etcd://u:pw@a:0", /, not "a:0"$/],
    ["etcd://1.2.3.999", /, not "1.2.3.999"$/],
    ["etcd://user:swordfish", /with a port from 1 to 65535$/],
    ["etcd://a/b", /^the path of etcd:\/\/\S+ must be nothing behind the servers, not "\/b"$/],
    ["etcd://u@a", /its user has no password$/],
    ["etcd://:pw@a", /its password has no user$/],
    ["redis://u:@a", /its user has no password$/],
    ["zookeeper://u%3Av:pw@a", /its user has a ":" in it$/],
    ["redis://a,b", /it names one server$/],
    ["redis://a/x", /must be the number of a database, as \/0, or nothing, not "\/x"$/],
    ["redis+cluster://a/1", /must be nothing behind the servers, not "\/1"$/],
    ["redis+sentinel://a", /must be the primary's name among the sentinels, as \/mymaster, not ""$/],
    ["redis://a?space=%7Ba%7D", /^space in url must be a name without braces/],
    ["redis://a?space=", /^space in url must be a name without braces/],
    ["redis://a?callTimeoutMs=soon", /^callTimeoutMs in url must be a number of milliseconds, not "soon"$/],
    ["redis://a?callTimeoutMs=0", /^callTimeoutMs in url must be more than 0/],
    ["redis://a?timeout=5", /must be callTimeoutMs, connectTimeoutMs, space, not "timeout"$/],
    ["etcd://a?space=x", /must be callTimeoutMs, connectTimeoutMs, not "space"$/],
    ["memory:a?callTimeoutMs=5", /must be left out: it has none, not "callTimeoutMs"$/],
    ["redis://a?callTimeoutMs=5&callTimeoutMs=6", /callTimeoutMs is given twice$/],
    ["zookeeper://a/b/", /^the path of zookeeper:\/\/\S+ must be the path of a znode/],
    ["zookeeper://a/b/../c", /must be the path of a znode/],
    ["zookeeper://a/zookeeper/quota", /must be the path of a znode/],
    ["zookeeper://a/%F0%9F%94%91", /must be the path of a znode/],
    ["zookeeper://a/b%00", /its path has a NUL in it$/],
    ["zookeeper://a/%zz", /its path has a "%" that is no escape/],
    ["memory://a", /must be a name without slashes, or nothing, not "\/\/a"$/],
    ["etcd://a#b", /it has no part behind a "#"$/],
    ["etcd://u:p@w@a", /must be percent-encoded/],
    ["etcd://a b", /^url must have no white space in it$/],
  ])("%s is refused with a reason", (url, message) => {
    expect(() => parse(url)).toThrow(RangeError);
    expect(() => parse(url)).toThrow(message);
  });

  test.each([undefined, null, 7, {}, new URL("etcd://a:1")])("%s is refused, since it is no string", (url) => {
    expect(() => parse(url as never)).toThrow(TypeError);
  });

  test("is not case-sensitive in its scheme", () => {
    expect(parse("ETCD://a").scheme).toBe(schemes["etcd"]);
  });
});

/** A URL, or what somebody's slip made of one. */
const slip = fc
  .tuple(said, fc.array(fc.tuple(fc.nat(), fc.nat(3), text), { minLength: 1, maxLength: 3 }))
  .map(([{ url }, edits]) =>
    edits.reduce((given, [at, cut, inserted]) => {
      const index = at % (given.length + 1);
      return given.slice(0, index) + inserted + given.slice(index + cut);
    }, url),
  );

test("junk is refused with a TypeError or a RangeError, and nothing else", () => {
  let refused = 0;
  fc.assert(
    fc.property(fc.oneof(slip, fc.string({ unit: "binary" }), fc.anything()), (junk) => {
      try {
        parse(junk as never);
      } catch (error) {
        refused++;
        expect(error instanceof TypeError || error instanceof RangeError, String(error)).toBe(true);
      }
    }),
    { numRuns: 1_000 },
  );
  expect(refused).toBeGreaterThan(500);
});

test("no message shows a password or a user, however they are written", () => {
  let refused = 0;
  const secret = fc.tuple(text, text).map(([before, after]) => `${before}hunter2${after}`);
  const written = fc.tuple(secret, fc.boolean()).map(([value, raw]) => {
    return raw || !value.isWellFormed() ? value : encodeURIComponent(value);
  });
  const rest = fc.constantFrom("h:1", "h:x", "h:70000", "h/a/../b", "h?no=1", "h,,h", "h#x", "", "h:1/%zz", "a b");
  const user = fc.oneof(written, fc.constant(""));
  fc.assert(
    fc.property(
      fc.constantFrom(...served, "memory", "postgres", ""),
      user,
      written,
      rest,
      (name, user, password, rest) => {
        try {
          parse(`${name}://${user}:${password}@${rest}`);
        } catch (error) {
          refused++;
          expect((error as Error).message).not.toContain("hunter2");
        }
      },
    ),
    { numRuns: 2_000 },
  );
  expect(refused).toBeGreaterThan(1_000);
});
