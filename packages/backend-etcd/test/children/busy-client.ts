// A client with a bit of everything under way, which closes when told and must then end by itself.
import { createInterface } from "node:readline";
import { encode } from "@conclave/core/backend";
import { etcd } from "../../src/index.ts";

const endpoint = process.argv[2] as string;
const say = (message: object) => process.stdout.write(`${JSON.stringify(message)}\n`);
const backend = await etcd({ endpoints: [endpoint] }).connect();
const prefix = `child-${process.pid}/`;
const lease = await backend.leases.grant({ ttlMs: 60_000 });
await lease.keepAlive();
const ends: Promise<string>[] = [];
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "done",
    (error: { code?: string }) => String(error.code ?? error),
  );
for (let index = 0; index < 20; index++) {
  const watch = await backend.watches.watch({ key: prefix + index });
  ends.push(
    codeOf(
      (async () => {
        for await (const _ of watch);
      })(),
    ),
  );
}
say({ ready: true });

const lines = createInterface({ input: process.stdin });
for await (const line of lines) {
  const { act } = JSON.parse(line) as { act: "call" | "close" };
  if (act === "call") {
    ends.push(
      codeOf(backend.kv.get(`${prefix}0`)),
      codeOf(backend.kv.list(prefix)),
      codeOf(backend.kv.commit({ then: [{ put: `${prefix}0`, value: encode("") }] })),
      codeOf(lease.keepAlive()),
      codeOf(backend.leases.grant({ ttlMs: 5_000 })),
      codeOf(lease.revoke()),
      codeOf(backend.watches.watch({ prefix })),
    );
    say({ calling: true });
  } else break;
}
lines.close();
process.stdin.destroy();
const start = performance.now();
await backend[Symbol.asyncDispose]();
const closedMs = performance.now() - start;
const codes = await Promise.all(ends);
say({ closedMs, codes, settledMs: performance.now() - start });
