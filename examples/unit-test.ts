// Unit tests of code that coordinates: a lock waited for, a lease lost, a service gone. Minutes pass in milliseconds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStore } from "@conclave/backend-memory";
import { type Conclave, connect, type Instances } from "@conclave/core";

// #region code
/** Bills every customer, on one machine at a time. */
async function billCustomers(conclave: Conclave, bill: (customer: string) => Promise<void>): Promise<void> {
  await conclave.mutex("billing").run(async ({ signal }) => {
    for (const customer of ["ada", "bob", "cyd"]) {
      signal.throwIfAborted();
      await bill(customer);
    }
  });
}

/** Knows where to send the next request. */
class Router {
  readonly #payments: Instances;

  private constructor(payments: Instances) {
    this.#payments = payments;
  }

  static async open(conclave: Conclave): Promise<Router> {
    return new Router(await conclave.service("payments").instances());
  }

  next(): string | undefined {
    return this.#payments.pick("round-robin")?.instance.address;
  }
}
// #endregion

// #region lock
test("billing waits while another machine bills", async () => {
  const store = MemoryStore.virtual();
  await using here = await connect(store);
  await using there = await connect(store);
  const billed: string[] = [];
  const theirs = await there.mutex("billing").acquire();

  const billing = billCustomers(here, async (customer) => void billed.push(customer));
  await store.advance(60_000);
  assert.deepEqual(billed, []);

  await theirs.release();
  await billing;
  assert.deepEqual(billed, ["ada", "bob", "cyd"]);
});
// #endregion

// #region lease
test("billing stops before the next customer when its lease is lost", async () => {
  const store = MemoryStore.virtual();
  const client = await store.connect();
  await using conclave = await connect(client, { ttlMs: 10_000 });
  const billed: string[] = [];

  const billing = billCustomers(conclave, async (customer) => {
    billed.push(customer);
    if (customer === "bob") client.disconnect(); // the network goes down,
    await store.advance(10_000); // and it takes ten seconds to bill somebody
  });

  await assert.rejects(billing, { code: "LEASE_LOST" });
  assert.deepEqual(billed, ["ada", "bob"]);
});
// #endregion

// #region service
test("the router forgets an instance when its process dies", async () => {
  const store = MemoryStore.virtual();
  const client = await store.connect();
  await using payments = await connect(client, { ttlMs: 10_000 });
  await using conclave = await connect(store);
  await payments.service("payments").register({ address: "10.0.0.7:8080" });
  const router = await Router.open(conclave);
  await store.advance(60_000);
  assert.equal(router.next(), "10.0.0.7:8080");

  client.disconnect(); // as a crash looks from outside: no goodbye, and no renewal any more
  await store.advance(10_000);
  assert.equal(router.next(), undefined);
});
// #endregion
