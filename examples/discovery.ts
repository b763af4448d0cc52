// Services find each other, and notice when one goes.
import assert from "node:assert/strict";
import { connect, type Instance } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-discovery" });
await using client = await connect(store, { namespace: "example-discovery" });

// #region callbacks
await using directory = await client.service("payments").instances();
const heard: string[] = [];
using _subscription = directory.subscribe({
  started: ({ id, address }) => heard.push(`${id} started at ${address}`),
  changed: ({ id }, before) => heard.push(`${id} changed from ${JSON.stringify(before.metadata)}`),
  stopped: ({ id }) => heard.push(`${id} stopped`),
});
// #endregion

// #region register
await using one = await conclave.service("payments").register({ id: "one", address: "10.0.0.7:8080", weight: 3 });
await using two = await conclave.service("payments").register({ id: "two", address: "10.0.0.8:8080" });
await two.update({ metadata: { version: "1.4.2" } }); // what is not given stays
// #endregion
await instancesUntil((instances) => instances.length === 2 && instances[1]?.metadata !== undefined);

// #region pick
const turns = [1, 2, 3, 4].map(() => directory.pick("round-robin")?.instance.id);
const sameForAda = directory.pick("consistent-hash", "ada")?.instance.id;
{
  using picked = directory.pick("least-busy"); // busy until the end of this block
  console.log(`asking ${picked?.instance.address}`);
}
// #endregion
assert.deepEqual(turns.toSorted(), ["one", "one", "two", "two"]);
assert.equal(directory.pick("consistent-hash", "ada")?.instance.id, sameForAda);

await one.deregister();

// #region watch
for await (const { instances, stale } of client.service("payments").watch({ signal: AbortSignal.timeout(5_000) })) {
  console.log(`${instances.map(({ id }) => id).join(", ")}${stale ? " (the store does not answer)" : ""}`);
  if (instances.length === 1) break;
}
// #endregion

// #region sub-directories
await using _europe = await conclave.service("payments/eu").register({ address: "10.1.0.7:8080" });
await using everywhere = await client.service("payments").instances({ recursive: true });
const services = new Set(everywhere.snapshot.instances.map(({ service }) => service));
// #endregion
assert.deepEqual([...services], ["payments", "payments/eu"]);

while (!heard.includes("one stopped")) await new Promise((resolve) => setTimeout(resolve, 5));
console.log(heard.join("\n"));
assert.equal(heard[0], "one started at 10.0.0.7:8080");
assert.equal(heard.at(-1), "one stopped");

async function instancesUntil(enough: (instances: readonly Instance[]) => boolean): Promise<void> {
  for await (const { instances } of directory) if (enough(instances)) return;
}
