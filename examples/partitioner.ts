// Partitions, shared out among processes: each is one process's at a time.
import assert from "node:assert/strict";
import { connect, type Partition } from "@conclave/core";
import { fromUrl } from "@conclave/url";
import { FencedTable } from "./support/fenced-table.ts";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-partitioner" });
await using other = await connect(store, { namespace: "example-partitioner" });
const stop = new AbortController();
const { signal } = stop;
const done = new FencedTable<string>();
const active = new Map<string, string>();

// #region run
const partitions = 32; // or names, ["eu", "us", …]; the same in every process
const running = conclave.partitioner("mail", { partitions }).run(
  async (partition) => {
    while (!partition.signal.aborted) await sendMails(partition, "one");
    // it ends here when the partition is to go to another process; that gets it now, and not sooner
  },
  { signal },
);
// #endregion
await until(() => active.size === partitions);
console.log(`one process sends the mails of ${active.size} partitions`);

// #region assigned
const workers = new Map<Partition, Promise<void>>();
const taking = (async () => {
  for await (const { partitions: mine } of other.partitioner("mail", { partitions }).assigned({ signal })) {
    // Stop what is no longer here before asking for more: asking gives it back.
    for (const [partition, ended] of workers) if (!mine.has(partition.name)) await ended;
    for (const partition of mine.values()) if (!workers.has(partition)) workers.set(partition, work(partition));
  }
})();
// #endregion
const sentBy = (process: string) => [...active.values()].filter((each) => each === process).length;
await until(() => workers.size > 0 && sentBy("two") === workers.size);
console.log(`then two do: one those of ${sentBy("one")}, the other those of ${sentBy("two")}`);

stop.abort(new Error("enough"));
await Promise.all([assert.rejects(running, /enough/), assert.rejects(taking, /enough/), ...workers.values()]);

async function work(partition: Partition): Promise<void> {
  while (!partition.signal.aborted) await sendMails(partition, "two");
}

/** Sends some of a partition's mails, and writes down how far it got with the partition's token. */
async function sendMails({ name, token, signal }: Partition, process: string): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 5));
  if (signal.aborted) return;
  assert(done.write(name, process, token)); // a table refuses who lost the partition since
  active.set(name, process);
}

async function until(check: () => boolean): Promise<void> {
  while (!check()) await new Promise((resolve) => setTimeout(resolve, 5));
}
