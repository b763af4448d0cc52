import { once } from "node:events";
import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";

// Uses everything a conclave has, closes it in the middle of it all, and does not end itself.
const [endpoint = "", when] = process.argv.slice(2);
const say = (message: object): void => console.log(JSON.stringify(message));

const conclave = await connect(etcd({ endpoints: [endpoint] }), { ttlMs: 5_000 });
await conclave.mutex("held").acquire();
const codes: string[] = [];
const ends = [
  conclave.mutex("held").acquire(),
  conclave
    .election("waiting")
    .campaign()
    .then(() => conclave.election("waiting").campaign()),
  conclave.election("run").run(({ signal }) => once(signal, "abort")),
  (async () => {
    for await (const _ of conclave.election("waiting").observe());
  })(),
  (async () => {
    for await (const _ of conclave.service("payments").watch());
  })(),
].map((wait) => wait.catch((error: { code?: string }) => codes.push(error.code ?? String(error))));
const registration = await conclave.service("payments").register({ address: "127.0.0.1:1" });
say({ ready: true });
if (when === "wait") {
  await once(process.stdin, "data");
  process.stdin.destroy();
}
await conclave.close();
await registration.deregister();
await Promise.all(ends);
if (codes.join() !== ["CLOSED", "CLOSED", "CLOSED", "CLOSED", "CLOSED"].join())
  throw new Error(`waits ended with ${codes}`);
say({ closed: true });
