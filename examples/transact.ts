// Reads and writes of several keys that take effect as one step, whatever other processes do meanwhile.
import assert from "node:assert/strict";
import { connect, type Transaction } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-transact" });
await using other = await connect(store, { namespace: "example-transact" });

// #region numbers
const encoder = new TextEncoder();
const decoder = new TextDecoder();

async function balance(tx: Transaction, account: string): Promise<number> {
  const value = await tx.get(`accounts/${account}`);
  return value === undefined ? 0 : Number(decoder.decode(value));
}

function setBalance(tx: Transaction, account: string, amount: number): void {
  tx.put(`accounts/${account}`, encoder.encode(String(amount)));
}
// #endregion

await conclave.transact((tx) => {
  setBalance(tx, "ada", 100);
  setBalance(tx, "bob", 100);
});

// #region transfer
async function transfer(from: string, to: string, amount: number): Promise<number> {
  return conclave.transact(
    async (tx) => {
      const [before, target] = await Promise.all([balance(tx, from), balance(tx, to)]); // one round trip
      if (before < amount) throw new RangeError(`${from} has only ${before}`); // nothing is written
      setBalance(tx, from, before - amount);
      setBalance(tx, to, target + amount);
      return before - amount;
    },
    { signal: AbortSignal.timeout(5_000) },
  );
}
// #endregion
const transfers = Array.from({ length: 10 }, () => transfer("ada", "bob", 1));
const back = other.transact(async (tx) => {
  setBalance(tx, "bob", (await balance(tx, "bob")) - 50);
  setBalance(tx, "ada", (await balance(tx, "ada")) + 50);
});
await Promise.all([...transfers, back]);
await assert.rejects(transfer("bob", "ada", 1_000), RangeError);

// #region list
const total = await other.transact(async (tx) => {
  const accounts = await tx.list("accounts/");
  return accounts.reduce((sum, { value }) => sum + Number(decoder.decode(value)), 0);
});
// #endregion
assert.equal(total, 200);
console.log(`whoever paid whom, there is ${total} in all`);

const [ada, bob] = await other.transact((tx) => Promise.all([balance(tx, "ada"), balance(tx, "bob")]));
assert.deepEqual([ada, bob], [140, 60]);

await conclave.transact(async (tx) => {
  for (const { key } of await tx.list("accounts/")) tx.delete(key);
});
