import { memory } from "@conclave/backend-memory";
import { connect } from "@conclave/core";
import { type Backend, type Commit, CoordinationError, type Txn } from "@conclave/core/backend";

// Claims a job from a store that refuses the first claim.
const backend = await memory().connect();
let refusals = 0;
const shaky: Backend = {
  ...backend,
  kv: {
    ...backend.kv,
    commit: <const T extends Txn>(txn: T): Promise<Commit<T>> =>
      refusals-- > 0 ? Promise.reject(new CoordinationError("UNAVAILABLE", "not now")) : backend.kv.commit(txn),
  },
};
await using conclave = await connect(shaky);
const queue = conclave.queue<string>("jobs");
await queue.enqueue("pack");
refusals = 1;
const { value } = await queue.claim();
console.log(JSON.stringify({ value }));
