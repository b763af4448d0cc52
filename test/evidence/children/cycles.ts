import { getEventListeners } from "node:events";
import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";

// Connects, uses and closes again and again, and says what is left of it.
const [endpoint = "", count = ""] = process.argv.slice(2);
const lifelong = new AbortController();

async function cycle(): Promise<void> {
  await using conclave = await connect(etcd({ endpoints: [endpoint] }), { signal: lifelong.signal });
  await using hold = await conclave.mutex("cycle").acquire({ signal: lifelong.signal });
  await using view = await conclave.service("cycle").instances({ signal: lifelong.signal });
  if (!hold.isHeld() || view.snapshot.stale) throw new Error("a cycle did not work");
}

async function leftovers(): Promise<Record<string, number>> {
  await new Promise((resolve) => setTimeout(resolve, 500));
  const counts: Record<string, number> = { listeners: getEventListeners(lifelong.signal, "abort").length };
  for (const name of process.getActiveResourcesInfo()) counts[name] = (counts[name] ?? 0) + 1;
  for (const event of process.eventNames()) counts[String(event)] = process.listenerCount(event);
  return counts;
}

for (let warm = 0; warm < 10; warm++) await cycle();
const before = await leftovers();
let cycles = 0;
for (; cycles < Number(count); cycles++) await cycle();
console.log(JSON.stringify({ before, after: await leftovers(), cycles }));
