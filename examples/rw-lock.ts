// Many read a price list together; who changes it is alone, and then shows the change to readers without letting go.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
// Two clients of one store stand for two processes.
await using shop = await connect(store, { namespace: "example-rw-lock", owner: "shop" });
await using office = await connect(store, { namespace: "example-rw-lock", owner: "office" });

const prices = new Map([["tea", 3]]);

// #region read
{
  await using hold = await shop.rwLock("prices").read({ signal: AbortSignal.timeout(5_000) });
  // Others may be reading, nobody is writing. `hold` has `signal`, `isHeld`, `token` and `guard`, as that of a mutex.
  console.log(`tea costs ${prices.get("tea")}, as of token ${hold.token}`);
} // released here
// #endregion

const [one, other] = [await shop.rwLock("prices").read(), await office.rwLock("prices").read()];
assert(one.isHeld() && other.isHeld());

// #region try
const writing = await office.rwLock("prices").tryWrite();
if (writing === undefined) console.log("somebody is reading, or writing, or waiting to");
// #endregion
assert.equal(writing, undefined);

const changed: string[] = [];
// #region downgrade
const change = office.rwLock("prices").runWrite(async (hold) => {
  prices.set("tea", 4);
  changed.push("written");
  await hold.downgrade(); // readers come in from here on, and nobody can write before this ends
  assert.equal(prices.get("tea"), 4);
});
// #endregion
while ((await shop.rwLock("prices").queue()).length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
assert.deepEqual(changed, [], "a writer waits for all who read");

// #region queue
for (const { mode, owner } of await shop.rwLock("prices").queue()) console.log(`  ${owner} to ${mode}`);
// #endregion

// Readers who come after the writer wait behind it, so it does not starve.
assert.equal(await shop.rwLock("prices").tryRead(), undefined);
const late = shop.rwLock("prices").runRead(() => prices.get("tea"));
await one.release();
await other.release();
await change;
assert.equal(await late, 4);
assert.deepEqual(await shop.rwLock("prices").queue(), []);
console.log(`the reader who came after the writer saw ${await late}`);
