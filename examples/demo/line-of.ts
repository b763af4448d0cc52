import { setTimeout as sleep } from "node:timers/promises";
import type { Mutex } from "@conclave/core";

/** Until that many hold the mutex or wait for it. */
export async function lineOf(count: number, mutex: Mutex): Promise<void> {
  while ((await mutex.queue()).length < count) await sleep(5);
}
