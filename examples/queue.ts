// Work for any number of workers: delivered at least once, with priorities, delays, dead letters, and a bound.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
// Two clients of one store stand for two processes.
await using shop = await connect(store, { namespace: "example-queue", owner: "shop" });
await using worker = await connect(store, { namespace: "example-queue", owner: "worker 1" });

type Mail = { readonly to: string; readonly about: string };

// #region enqueue
const outbox = shop.queue<Mail>("mail");
await outbox.enqueue({ to: "ann@example.com", about: "your order" });
await outbox.enqueue({ to: "bob@example.com", about: "your new password" }, { priority: -1 }); // smaller goes first
await outbox.enqueue({ to: "cy@example.com", about: "how was it?" }, { delayMs: 300 });
await outbox.enqueueAll(["?", "dee@example.com"].map((to) => ({ value: { to, about: "the news" } }))); // all or none
// #endregion

const sent: string[] = [];
let refused = 0;
async function send({ to }: Mail, _: { readonly signal: AbortSignal }): Promise<void> {
  if (to.includes("@")) sent.push(to);
  else throw new Error(`no such address: ${to}, asked ${++refused} times`);
}

const enough = new AbortController();
const stop = setInterval(() => {
  if (sent.length === 4 && refused === 2) enough.abort();
}, 5);

// #region consume
const inbox = worker.queue<Mail>("mail", { maxDeliveries: 2, visibilityMs: 30_000 });
try {
  for await (const job of inbox.consume({ signal: enough.signal })) {
    try {
      await send(job.value, { signal: job.signal }); // which aborts when the job is lost, and another may have it
      await job.ack();
    } catch (error) {
      await job.nack({ delayMs: 10, reason: String(error) });
    }
  }
} catch (error) {
  if (error !== enough.signal.reason) throw error;
}
// #endregion
clearInterval(stop);
assert.deepEqual(sent.slice(0, 2), ["bob@example.com", "ann@example.com"]);
assert.deepEqual(new Set(sent.slice(2)), new Set(["cy@example.com", "dee@example.com"]));
console.log(`sent to ${sent.join(", ")}`);

// #region dead-letters
for (const { id, value, reason, deliveries } of await outbox.deadLetters()) {
  console.log(`${value?.about} died after ${deliveries} deliveries: ${reason}`);
  await outbox.redrive([id]); // to try it again, at the end of the queue, or
  // await outbox.discardDead([id]);
}
// #endregion

// #region batches
const jobs = await inbox.claimAll({ atMost: 20 }); // as many as are due, and at least one
const late = await inbox.ackAll(jobs); // those that were lost meanwhile
// #endregion
assert.deepEqual(
  jobs.map(({ value, deliveries }) => [value.to, deliveries]),
  [["?", 1]],
);
assert.deepEqual(late, []);

// #region bounded
const small = shop.queue<Mail>("mail", { maxLength: 1 });
await small.enqueue({ to: "eve@example.com", about: "first" });
const waiting = small.enqueue({ to: "eve@example.com", about: "second" }, { signal: AbortSignal.timeout(5_000) });
const first = await inbox.claim();
await first.ack(); // now there is room
await waiting;
// #endregion
assert.equal(first.value.about, "first");
{
  await using job = await inbox.claim();
  assert.equal(job.value.about, "second");
} // given back here, since it was not acknowledged
const again = await inbox.claim();
assert.equal(again.deliveries, 2);
await again.ack();
assert.deepEqual(await outbox.counts(), { waiting: 0, claimed: 0, dead: 0 });
console.log("the queue is empty");
