import type { Backend, Lease } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import type { Costs } from "../costs.ts";
import { numbered, present, put, write } from "../entries.ts";

/** How often each call is made, in turn. */
const times = 21;

/** Readies a client for calls, and gives the nth of them. */
type Prepare = (backend: Backend, scene: Scene) => Promise<(nth: number) => Promise<unknown>>;

const value = put("", "text").value;

const calls: Readonly<Record<keyof Costs, readonly [what: string, Prepare]>> = {
  get: [
    "to get a key",
    async ({ kv }) => {
      await write(kv, { a: "" });
      return () => kv.get("a");
    },
  ],
  list: [
    "to list a prefix",
    async ({ kv }) => {
      await write(kv, { "a/1": "", "a/2": "", "b/1": "" });
      return () => kv.list("a/");
    },
  ],
  put: [
    "to put a key",
    async ({ kv }) => {
      await write(kv, { a: "" });
      return () => kv.commit({ then: [{ put: "a", value }] });
    },
  ],
  create: [
    "to create a key that is absent",
    async ({ kv }) => {
      await write(kv, { a: "" });
      return (nth) => kv.commit({ if: [{ key: `${nth}`, exists: false }], then: [{ put: `${nth}`, value }] });
    },
  ],
  compareAndSet: [
    "to write a key that is unchanged",
    async ({ kv }) => {
      let modified = await write(kv, { a: "" });
      return async () => {
        const { succeeded, revision } = await kv.commit({ if: [{ key: "a", modified }], then: [{ put: "a", value }] });
        expect(succeeded).toBe(true);
        modified = revision;
      };
    },
  ],
  refusal: [
    "to be told that a condition fails, and what is there",
    async ({ kv }) => {
      await write(kv, { a: "" });
      const refused = { if: [{ key: "a", exists: false }], then: [{ put: "a", value }], else: [{ get: "a" }] } as const;
      return async () => expect((await kv.commit(refused)).succeeded).toBe(false);
    },
  ],
  snapshot: [
    "to read several at once under a condition",
    async ({ kv }) => {
      await write(kv, { "a/1": "", "a/2": "", b: "" });
      const reads = { if: [{ key: "b", exists: true }], then: [{ get: "b" }, { list: "a/" }] } as const;
      return async () => expect((await kv.commit(reads)).succeeded).toBe(true);
    },
  ],
  leasedPut: [
    "to put a key on a lease",
    async ({ kv, leases }, { timing }) => {
      const lease = await leases.grant({ ttlMs: 20 * timing.ttlMs });
      await write(kv, { a: "" }, lease);
      return () => write(kv, { a: "" }, lease);
    },
  ],
  grant: [
    "to grant a lease",
    async ({ leases }, { timing }) => {
      await leases.grant({ ttlMs: 20 * timing.ttlMs });
      return () => leases.grant({ ttlMs: 20 * timing.ttlMs });
    },
  ],
  keepAlive: [
    "to renew a lease",
    async ({ leases }, { timing }) => {
      const lease = await leases.grant({ ttlMs: 20 * timing.ttlMs });
      await lease.keepAlive();
      return () => lease.keepAlive();
    },
  ],
  revoke: [
    "to revoke a lease",
    async ({ kv, leases }, { timing }) => {
      const granted: Lease[] = [];
      for (const key of numbered(times)) {
        const lease = await leases.grant({ ttlMs: 20 * timing.ttlMs });
        await write(kv, { [key]: "" }, lease);
        granted.push(lease);
      }
      return async (nth) => granted[nth]?.revoke();
    },
  ],
  watch: [
    "to open another watch",
    async (backend, scene) => {
      scene.use(await backend.watches.watch({ prefix: "" }));
      await write(backend.kv, { a: "" });
      await present(backend.kv, "a");
      return async () => scene.use(await backend.watches.watch({ key: "a" }));
    },
  ],
};

/**
 * What calls cost on the wire: no more than the backend's author says, and no less, so that what is said is what is so. What
 * counts is the median of many calls: some meet what a client says now and then of its own accord, and on a busy machine
 * what is sent at once may leave in two parts.
 */
export function wire(suite: Suite, costs: Costs): void {
  for (const [kind, [what, prepare]] of Object.entries(calls) as [keyof Costs, (typeof calls)[keyof Costs]][]) {
    const cost = costs[kind];
    suite.it(`takes ${cost} round ${cost === 1 ? "trip" : "trips"} ${what}`, async (backend, scene) => {
      const call = await prepare(backend, scene);
      const each: number[] = [];
      for (let nth = 0; nth < times; nth++) {
        const before = scene.roundTrips(backend);
        await call(nth);
        each.push(scene.roundTrips(backend) - before);
      }
      expect(each.sort((one, other) => one - other)[(times - 1) / 2], `the median of ${each}`).toBe(cost);
    });
  }
}
