// A queue whose items are gone once they are popped: simple, and a popper that dies has lost what it had.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using meter = await connect(store, { namespace: "example-destructive-queue" });
await using reader = await connect(store, { namespace: "example-destructive-queue" });

// #region push-pop
await meter.destructiveQueue<number>("samples").push(20.5);
const sample = await reader.destructiveQueue<number>("samples").pop({ signal: AbortSignal.timeout(5_000) });
// #endregion
assert.equal(sample, 20.5);

// #region try-pop
const next = await reader.destructiveQueue<number>("samples").tryPop();
if (next === undefined) console.log("nothing more");
// #endregion
assert.equal(next, undefined);

const waiting = reader.destructiveQueue<number>("samples").pop();
await meter.destructiveQueue<number>("samples").push(21);
assert.equal(await waiting, 21);
assert.equal(await meter.destructiveQueue<number>("samples").length(), 0);
console.log("every sample was popped once");
