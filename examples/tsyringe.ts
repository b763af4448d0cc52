// A class that is given a lock by tsyringe: of a store in memory in a test, of what a URL names in production.
import assert from "node:assert/strict";
import { memory } from "@conclave/backend-memory";

// #region class
import "reflect-metadata"; // tsyringe needs it, imported before everything else of tsyringe's
import type { Mutex } from "@conclave/core";
import { mutexToken, registerConclave } from "@conclave/tsyringe";
import { fromUrl } from "@conclave/url";
import { container } from "tsyringe";

class Warehouse {
  readonly #lock: Mutex;

  constructor(lock: Mutex) {
    this.#lock = lock;
  }

  pack(order: string): Promise<string> {
    return this.#lock.run(({ token }) => `packed ${order} with token ${token}`);
  }
}

// With tsyringe's decorators instead: constructor(@inject(mutexToken("warehouse")) lock: Mutex)
container.register(Warehouse, { useFactory: (from) => new Warehouse(from.resolve(mutexToken("warehouse"))) });
// #endregion

// #region production
async function serve(url: string): Promise<void> {
  await using _registration = await registerConclave(container, { store: fromUrl(url), namespace: "example-tsyringe" });
  console.log(await container.resolve(Warehouse).pack("order 42"));
} // the conclave is closed here, and whatever it held is free for others at once
// #endregion

// #region test
async function testPacking(): Promise<void> {
  const child = container.createChildContainer();
  await using _registration = await registerConclave(child, { store: memory() });
  assert.match(await child.resolve(Warehouse).pack("order 42"), /^packed order 42 with token \d+$/);
}
// #endregion

await testPacking();
console.log("tested on memory");
assert.throws(() => container.resolve(Warehouse), /Conclave/, "the test left nothing in the container itself");

const { BACKEND } = process.env;
if (BACKEND) await serve(BACKEND);
