import { systemClock } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { zookeeper } from "../src/index.ts";
import { settingsFrom, type ZooKeeperOptions } from "../src/options.ts";

const servers = ["zk1.example:2181"];

function given(options: object): () => unknown {
  return () => zookeeper({ servers, ...options } as ZooKeeperOptions);
}

describe("the options of zookeeper", () => {
  test("are a list of servers, and defaults for the rest", () => {
    expect(settingsFrom({ servers: ["ZK1.example:2181", "[::1]:2182", "10.0.0.1:1", "zk1.example:2181"] })).toEqual({
      servers: [
        { host: "zk1.example", port: 2181 },
        { host: "::1", port: 2182 },
        { host: "10.0.0.1", port: 1 },
      ],
      root: "/conclave",
      auth: undefined,
      callTimeoutMs: 5_000,
      connectTimeoutMs: 5_000,
      clock: systemClock,
    });
    const set = { root: "/a/b c/ü", auth: "user:with:colons", callTimeoutMs: 1, connectTimeoutMs: 2 };
    expect(settingsFrom({ servers, ...set })).toMatchObject(set);
  });

  test("are refused by name, with what was given and what is allowed", () => {
    expect(() => zookeeper(undefined as never)).toThrow(
      new TypeError("the options of zookeeper must be an object, not undefined"),
    );
    expect(given({ server: servers })).toThrow(
      new TypeError(
        'zookeeper has no option "server"; it takes servers, root, auth, callTimeoutMs, connectTimeoutMs, clock',
      ),
    );
    expect(given({ servers: "zk1:2181" })).toThrow(
      new TypeError('servers must be an array of host:port, not "zk1:2181"'),
    );
    expect(given({ servers: [] })).toThrow(new RangeError("servers must name at least one host:port"));
    expect(given({ servers: [7] })).toThrow(
      new TypeError("servers[0] must be host:port, such as zk1.example:2181 or [::1]:2181, not 7"),
    );
    expect(given({ callTimeoutMs: 0 })).toThrow(RangeError);
    expect(given({ connectTimeoutMs: "5s" })).toThrow(TypeError);
    expect(given({ clock: {} })).toThrow(new TypeError("clock must be a Clock, not an object of type Object"));
  });

  test.each([
    "zk1",
    "zk1:",
    "zk1:0",
    "zk1:65536",
    "zk1:2181/chroot",
    "zk1:2181,zk2:2181",
    ":2181",
    "::1:2181",
    "zk 1:2181",
    "user:secret@zk1:2181",
    "http://zk1:2181",
  ])("refuse %s as a server, and do not show it", (server) => {
    const error = caught(given({ servers: [server] }));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toBe(
      "servers[0] must be host:port, such as zk1.example:2181 or [::1]:2181, without a path or credentials",
    );
  });

  test.each([
    "",
    "/",
    "conclave",
    "/conclave/",
    "//a",
    "/a//b",
    "/a/./b",
    "/a/..",
    "/a\u0001",
    "/a\ue000",
    "/zookeeper",
    "/zookeeper/a",
  ])("refuse %j as the root", (root) => {
    expect(given({ root })).toThrow(RangeError);
  });

  test("refuse credentials without a user, and never show them", () => {
    for (const auth of ["secret", ":secret", "", 7, { secret: 1 }, "user:\ud800secret"]) {
      const error = caught(given({ auth }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe("auth must be user:password, for ZooKeeper's digest scheme");
    }
  });
});

function caught(call: () => unknown): Error {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
}
