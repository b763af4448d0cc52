import { redis } from "../../src/index.ts";

/** Is cut off with calls, a watch and a lease under way, closes, and must then end by itself. */
const say = (said: string) => process.stdout.write(`${JSON.stringify({ said })}\n`);
const [url = ""] = process.argv.slice(2);
const backend = await redis({ url }).connect();
const idle = await redis({ url }).connect();
const lease = await backend.leases.grant({ ttlMs: 60_000 });
const watch = await backend.watches.watch({ prefix: "" });
say("connected");
process.stdin.once("data", async () => {
  process.stdin.destroy();
  const codes = [
    backend.kv.commit({ then: [{ put: "a", value: new Uint8Array() }] }),
    backend.kv.get("a"),
    lease.keepAlive(),
    watch[Symbol.asyncIterator]().next(),
  ].map((call) => call.then(String, (error: { code: string }) => error.code));
  await new Promise((resolve) => setTimeout(resolve, 100));
  await backend[Symbol.asyncDispose]();
  await idle[Symbol.asyncDispose]();
  const ends = (await Promise.all(codes)).join();
  if (ends !== "CLOSED,CLOSED,CLOSED,CLOSED") process.stderr.write(`they ended as ${ends}\n`);
  say("closed");
});
