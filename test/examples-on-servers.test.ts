import { readdirSync, readFileSync } from "node:fs";
import { connectUrl } from "@conclave/url";
import { describe, expect, test } from "vitest";
import { runNode } from "./harness/child.ts";
import { eventually } from "./harness/eventually.ts";
import {
  etcdServers,
  type Place,
  redisClusters,
  redisServers,
  zookeeperEnsembles,
  zookeeperServers,
} from "./harness/servers.ts";

/** A real server, of which a program knows the URL alone. */
interface Store {
  readonly name: string;
  /** Starts the server if it does not run, and ends it with the work. */
  use(work: (url: string) => Promise<void>): Promise<void>;
}

function storeOf<Server>({ name, open }: Place<Server>, urlOf: (server: Server) => string): Store {
  return {
    name,
    async use(work) {
      await using server = await open();
      await work(urlOf(server));
    },
  };
}

const zookeeperUrl = ({ servers }: { readonly servers: readonly string[] }) => `zookeeper://${servers.join()}`;
const singles: readonly Store[] = [
  ...etcdServers().map(({ name, endpoint }) => ({
    name,
    use: (work: (url: string) => Promise<void>) => work(endpoint.replace("http", "etcd")),
  })),
  ...redisServers().map((place) => storeOf(place, ({ url }) => url)),
  ...zookeeperServers().map((place) => storeOf(place, zookeeperUrl)),
];
const stores: readonly Store[] = [
  ...singles,
  ...redisClusters().map((place) => storeOf(place, ({ nodes }) => `redis+cluster://${nodes.join()}`)),
  ...zookeeperEnsembles().map((place) => storeOf(place, zookeeperUrl)),
];

/** Those that are about the store in memory itself; and the demonstration, which has a test of its own below. */
const elsewhere = ["quick-start.ts", "unit-test.ts", "demo.ts"];
const folder = new URL("../examples/", import.meta.url);
const examples = readdirSync(folder)
  .filter((name) => name.endsWith(".ts") && !elsewhere.includes(name))
  .map((name) => name.replace(".ts", ""));

test.each(examples)("examples/%s.ts keeps to a namespace of its own", (example) => {
  const namespaces = readFileSync(new URL(`${example}.ts`, folder), "utf8").matchAll(/namespace: "(.+?)"/g);
  expect(new Set([...namespaces].map(([, namespace]) => namespace))).toEqual(new Set([`example-${example}`]));
});

describe.each(stores)("$name", ({ use }) => {
  test("every example runs by the store's URL alone, checks itself, and leaves nothing", { timeout: 120_000 }, () =>
    use(async (url) => {
      // All in one process, which ends by itself only if none of them left anything open.
      const program = new URL("harness/children/examples.ts", import.meta.url);
      await using child = runNode(program, { args: examples, env: { BACKEND: url } });
      for (const example of examples) {
        const said = await child.next(({ example: name }) => name === example, 60_000);
        expect(said, child.output).toEqual({ example });
      }
      const { code, signal } = await child.exited;
      expect({ code, signal, output: code === 0 ? "" : child.output }).toEqual({ code: 0, signal: null, output: "" });
      await using everything = await connectUrl(url);
      const left = await Promise.all(examples.map((example) => everything.kv.list(`example-${example}/`)));
      expect(left.flatMap(({ entries }) => entries.map(({ key }) => key))).toEqual([]);
    }),
  );
});

describe.each(singles)("$name", ({ use }) => {
  test("the demonstration plays every scene, and leaves nothing", { timeout: 60_000 }, () =>
    use(async (url) => {
      await using child = runNode(new URL("demo.ts", folder), { args: ["--backend", url] });
      const { code, signal } = await child.exited;
      expect({ code, signal, output: code === 0 ? "" : child.output }).toEqual({ code: 0, signal: null, output: "" });
      expect(child.output.match(/✓/g)).toHaveLength(12);
      await using everything = await connectUrl(url);
      // Who crashed left its keys to its lease.
      await eventually(async () => expect((await everything.kv.list("demo-")).entries).toEqual([]), {
        timeoutMs: 15_000,
      });
    }),
  );
});
