// Messages for everybody who subscribes, now or later: kept for a while, in one order, with word of what was missed.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-topic", owner: "shop" });
await using other = await connect(store, { namespace: "example-topic", owner: "warehouse" });

const keep = { count: 5, ageMs: 60 * 60_000 };

// #region publish
const orders = conclave.topic<{ order: number }>("orders", { keep: { count: 5, ageMs: 60 * 60_000 } });
const cursor = await orders.publish({ order: 1 });
console.log(`order 1 is published, and has the cursor ${cursor}`);
await orders.publishAll([{ order: 2 }, { order: 3 }]); // both or none, next to each other
// #endregion

const packed: number[] = [];
let saved = "";

// #region subscribe
{
  await using subscription = await other.topic<{ order: number }>("orders", { keep }).subscribe({ from: "start" });
  for await (const { message, gap } of subscription) {
    if (gap) console.log(`${gap.missed} orders are gone`);
    if (message) packed.push(message.value.order);
    saved = subscription.cursor; // keep it with what you made of the message, and go on from there after a restart
    if (packed.length === 3) break;
  }
}
// #endregion
assert.deepEqual(packed, [1, 2, 3]);
assert.notEqual(saved, cursor);

// While nobody subscribed there were more orders than are kept.
for (let order = 4; order <= 12; order++) await orders.publish({ order });

const seen: string[] = [];

// #region resume
{
  await using subscription = await other.topic<{ order: number }>("orders", { keep }).subscribe({ from: saved });
  for await (const { message, gap } of subscription) {
    seen.push(gap ? `${gap.missed} missed` : `order ${message.value.order}`);
    if (message?.value.order === 12) break;
  }
}
console.log(seen.join(", "));
// #endregion
assert.deepEqual(seen, ["4 missed", "order 8", "order 9", "order 10", "order 11", "order 12"]);

// #region read
const latest = await orders.latest();
console.log(`the last order is ${latest?.value.order}, by ${latest?.by}`);
const page = await orders.read({ from: "start", limit: 3 }); // page.cursor is where the next page begins
// #endregion
assert.equal(latest?.value.order, 12);
assert.deepEqual(
  page.events.map(({ message }) => message?.value.order),
  [8, 9, 10],
);
assert(page.more);

// Messages outlive their publishers, so that an example must take its own away.
const { entries } = await conclave.kv.list("topic/orders/");
await conclave.kv.commit({ then: entries.map(({ key }) => ({ delete: key })) });
