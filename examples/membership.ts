// A group of processes that know each other, all in the same order.
import assert from "node:assert/strict";
import { connect, type Member } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-membership" });
await using other = await connect(store, { namespace: "example-membership" });

// #region join
await using seat = await conclave.membership("cache").join({ payload: { host: "10.0.0.7", ready: false } });
await seat.update({ host: "10.0.0.7", ready: true }); // keeps its place in the order
// #endregion
await using second = await other.membership("cache").join({ payload: { host: "10.0.0.8", ready: true } });

// #region members
await using group = await other.membership("cache").members();
const { members } = group.snapshot; // whoever came first stands first, in every process
const own = members.findIndex(({ self }) => self);
console.log(`this is member ${own} of ${members.length}`);
// #endregion
assert.deepEqual(
  members.map(({ id, self }) => [id, self]),
  [
    [seat.id, false],
    [second.id, true],
  ],
);
assert.equal(members[0]?.token, seat.token);

// #region callbacks
const heard: string[] = [];
const host = ({ payload }: Member) => (payload as { host: string }).host;
using _subscription = group.subscribe({
  joined: (member) => heard.push(`${host(member)} joined`),
  left: (member) => heard.push(`${host(member)} left`),
});
// #endregion

// #region seat
const following = (async () => {
  for await (const { state, epoch } of seat) {
    console.log(`the seat is ${state}, in session ${epoch}`); // "lost" with its session, "joined" again with the next
  }
  console.log("the seat was left");
})();
// #endregion
await new Promise((resolve) => setTimeout(resolve, 5));
await seat.leave();
await following;

// #region watch
for await (const { members, stale } of other.membership("cache").watch({ signal: AbortSignal.timeout(5_000) })) {
  console.log(`${members.map(host).join(", ")}${stale ? " (the store does not answer)" : ""}`);
  if (members.length === 1) break;
}
// #endregion
while (!heard.includes("10.0.0.7 left")) await new Promise((resolve) => setTimeout(resolve, 5));
assert.deepEqual(heard, ["10.0.0.7 joined", "10.0.0.8 joined", "10.0.0.7 left"]);
