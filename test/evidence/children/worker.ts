import { appendFileSync } from "node:fs";
import { etcd } from "@conclave/backend-etcd";
import { connect, isCoordinationError, type Job } from "@conclave/core";
import type { Task } from "../queue-tasks.ts";

// Works on a queue until it is killed: some workers one job at a time, 16 at once, and some by batches. Of each job it
// appends a line to a file when it begins, and another once its acknowledgement resolved; what is poisoned it gives back.
const [endpoint = "", ttlMs = "", name = "", maxDeliveries = "", file = "", way = ""] = process.argv.slice(2);
const log = (line: object) => appendFileSync(file, `${JSON.stringify(line)}\n`);

/** A job that was lost meanwhile is another's. Anything else is a defect, which ends this worker for good. */
function tolerate(error: unknown): void {
  if (!isCoordinationError(error, "NOT_HELD", "LEASE_LOST", "UNAVAILABLE", "OUTCOME_UNKNOWN")) throw error;
}

async function end(job: Job<Task>): Promise<void> {
  try {
    if (job.value.poisoned) await job.nack({ reason: "poisoned" });
    else {
      await job.ack();
      log({ acked: job.id });
    }
  } catch (error) {
    tolerate(error);
  } finally {
    await job.release();
  }
}

const conclave = await connect(etcd({ endpoints: [endpoint] }), { ttlMs: Number(ttlMs) });
const queue = conclave.queue<Task>(name, { maxDeliveries: Number(maxDeliveries) });
const begin = ({ id, deliveries }: Job<Task>) => log({ begun: id, deliveries });
console.log(JSON.stringify({ working: true }));
while (way === "batches") {
  const jobs = await queue.claimAll({ atMost: 16 }).catch((error: unknown) => {
    tolerate(error);
    return [];
  });
  for (const job of jobs) begin(job);
  await Promise.all(jobs.filter(({ value }) => value.poisoned).map(end));
  const sound = jobs.filter(({ value }) => !value.poisoned);
  const late = await queue.ackAll(sound).catch((error: unknown) => {
    tolerate(error);
    return sound;
  });
  for (const job of sound) {
    if (!late.includes(job)) log({ acked: job.id });
    await job.release();
  }
}
for (;;) {
  try {
    for await (const job of queue.consume({ concurrency: 16 })) {
      begin(job);
      void end(job);
    }
  } catch (error) {
    tolerate(error);
  }
}
