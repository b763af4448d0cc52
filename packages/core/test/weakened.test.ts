import { memory } from "@conclave/backend-memory";
import { type Conclave, type ConnectOptions, type Connector, connect } from "@conclave/core";
import type { Backend, Guarantees } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { type Recipe, whenForgotten } from "../src/weakened.ts";

/** A store in memory that says it may forget, or whatever else of itself. */
function claiming(claims: Partial<Guarantees>, name = "sieve"): Connector {
  return {
    async connect(): Promise<Backend> {
      const backend = await memory().connect();
      const { kv, leases, watches, clock, limits } = backend;
      const guarantees = { ...backend.guarantees, ...claims };
      const end = () => backend[Symbol.asyncDispose]();
      return { name, kv, leases, watches, clock, limits, guarantees, [Symbol.asyncDispose]: end };
    },
  };
}

async function told(claims: Partial<Guarantees>, use: (conclave: Conclave) => unknown, options: ConnectOptions = {}) {
  const warnings: string[] = [];
  const onWarning = (warning: string) => void warnings.push(warning);
  await using conclave = await connect(claiming(claims), { onWarning, ...options });
  await use(conclave);
  return warnings;
}

/** Every recipe, asked for once. */
const uses: Readonly<Record<Recipe, (conclave: Conclave) => unknown>> = {
  mutex: (conclave) => conclave.mutex("a"),
  mutexes: (conclave) => conclave.mutexes(["a", "b"]),
  rwLock: (conclave) => conclave.rwLock("a"),
  semaphore: (conclave) => conclave.semaphore("a"),
  election: (conclave) => conclave.election("a"),
  partitioner: (conclave) => conclave.partitioner("a", { partitions: 4 }),
  queue: (conclave) => conclave.queue("a"),
  destructiveQueue: (conclave) => conclave.destructiveQueue("a"),
  topic: (conclave) => conclave.topic("a"),
  counter: (conclave) => conclave.counter("a"),
  ids: (conclave) => conclave.ids("a"),
  atomic: (conclave) => conclave.atomic("a"),
  config: (conclave) => conclave.config("a", {}),
  transact: (conclave) => conclave.transact(() => {}),
  barrier: (conclave) => conclave.barrier("a"),
  doubleBarrier: (conclave) => conclave.doubleBarrier("a", { count: 2 }),
  latch: (conclave) => conclave.latch("a", { count: 1 }),
  service: (conclave) => conclave.service("a"),
  membership: (conclave) => conclave.membership("a"),
  replica: async (conclave) => (await conclave.replica("a/"))[Symbol.asyncDispose](),
};

const recipes = Object.entries(uses) as [Recipe, (conclave: Conclave) => unknown][];

describe("what a forgetful store does to promises", () => {
  test.each(recipes.filter(([recipe]) => whenForgotten[recipe]))(
    "is said when %s is first used",
    async (recipe, use) => {
      const warnings = await told({ mayForget: true }, use);
      expect(warnings).toEqual([
        `${recipe} on sieve: a failover of the store may lose what it had acknowledged; then ${whenForgotten[recipe]}`,
      ]);
    },
  );

  test.each(recipes.filter(([recipe]) => !whenForgotten[recipe]))(
    "is nothing that %s does not mend",
    async (_, use) => {
      expect(await told({ mayForget: true }, use)).toEqual([]);
    },
  );

  test("is said once in a conclave, however often and whatever is named, and again in the next one", async () => {
    const twice = async (conclave: Conclave) => {
      for (const name of ["a", "a", "b"]) {
        await conclave.mutex(name).run(() => {});
        await conclave.counter(name).add(1n);
      }
    };
    const expected = [expect.stringMatching(/^mutex on sieve: /), expect.stringMatching(/^counter on sieve: /)];
    expect(await told({ mayForget: true }, twice)).toEqual(expected);
    expect(await told({ mayForget: true }, twice, { namespace: "n" })).toEqual(expected);
  });

  test("is not said at connect, nor of what reads and writes keys by itself", async () => {
    expect(await told({ mayForget: true }, (conclave) => conclave.kv.get("a"))).toEqual([]);
    expect(await told({ mayForget: true }, (conclave) => conclave.session())).toEqual([]);
  });

  test("is not said of a store that forgets nothing", async () => {
    const all = async (conclave: Conclave) => {
      for (const [, use] of recipes) await use(conclave);
    };
    expect(await told({ mayForget: false }, all)).toEqual([]);
  });

  test("breaks no recipe when onWarning throws, and needs nobody who listens", async () => {
    const onWarning = () => {
      throw new Error("not now");
    };
    for (const options of [{ onWarning }, {}]) {
      await using conclave = await connect(claiming({ mayForget: true }), options);
      await using hold = await conclave.mutex("a").acquire();
      expect(hold.isHeld()).toBe(true);
    }
  });
});
