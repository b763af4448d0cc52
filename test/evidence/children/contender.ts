import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";

// Holds a lock and leads, under raw prefixes that others share, until it is killed.
const [endpoint = "", ttlMs = "", lock = "", election = ""] = process.argv.slice(2);

const conclave = await connect(etcd({ endpoints: [endpoint] }), { ttlMs: Number(ttlMs) });
await conclave.mutex({ prefix: lock }).acquire();
await conclave.election({ prefix: election }).campaign({ value: "ours" });
console.log(JSON.stringify({ holding: true }));
