// One leader among several processes, and everybody knows who it is.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using ada = await connect(store, { namespace: "example-election", owner: "ada" });
await using bob = await connect(store, { namespace: "example-election", owner: "bob" });
await using audience = await connect(store, { namespace: "example-election" });

const seen: string[] = [];
const watching = observe();
await until(() => seen.length > 0);

async function observe(): Promise<void> {
  // #region observe
  for await (const leader of audience.election("scheduler").observe()) {
    console.log(leader ? `${leader.value} leads, with token ${leader.token}` : "nobody leads");
    seen.push(leader?.value ?? "nobody");
    if (leader?.value === "bob, done") break;
  }
  // #endregion
}

// #region campaign
const leadership = await ada.election("scheduler").campaign({ signal: AbortSignal.timeout(5_000) });
await leadership.proclaim("ada, ready"); // what observers see; the `owner` of the conclave until then
// #endregion
assert(leadership.isHeld());
await until(() => seen.at(-1) === "ada, ready");

// #region run
const work = bob.election("scheduler").run(async (leadership) => {
  // Only while leading. Should leadership be lost, `signal` aborts, and after this function ends bob campaigns again.
  await leadership.proclaim("bob, done");
  await watching; // who leads for a moment only need not be seen by everybody
  return leadership.token;
});
// #endregion

assert.equal((await audience.election("scheduler").leader())?.value, "ada, ready");
await leadership.resign();
const token = await work;

assert(token > leadership.token);
assert.equal(seen[0], "nobody");
assert.equal(seen.at(-1), "bob, done");
assert(!leadership.isHeld());
console.log(`seen in turn: ${seen.join("; ")}`);

/** Until an observer, which hears of everything a moment later, has heard. */
async function until(heard: () => boolean): Promise<void> {
  while (!heard()) await new Promise((resolve) => setTimeout(resolve, 5));
}
