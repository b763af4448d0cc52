import { type Conclave, type Job, sleep } from "@conclave/core";
import { describeJunk, describeJunkOn, object, text } from "./junk.ts";

describeJunk({
  sleep: (_, one, other) => sleep(one, other),
});

async function claim(conclave: Conclave): Promise<Job> {
  await conclave.queue("a").enqueue("work");
  return await conclave.queue("a").claim();
}

describeJunkOn(claim, {
  "job.ack": (job, one, other) => job.ack({ ...object(one), wrong: other }),
  "job.nack": (job, one, other) => job.nack({ ...object(one), wrong: other }),
  "job.extend": (job, one, other) => job.extend(one, { ...object(other), wrong: 1 }),
  "job.extend by no time": (job, one) => job.extend(text([one])),
});

describeJunkOn((conclave) => conclave.membership("a").members(), {
  "members.reached": (members, one, other) => members.reached(one, { ...object(other), wrong: 1 }),
});

describeJunkOn((conclave) => conclave.membership("a").join({ payload: "here" }), {
  "seat.update": (seat, one, other) => seat.update(one, { ...object(other), wrong: 1 }),
  "seat.update to no JSON": (seat, one) => seat.update([one, 1n]),
});

describeJunkOn((conclave) => conclave.doubleBarrier("a", { count: 1 }).enter(), {
  "passage.leave": (passage, one, other) => passage.leave({ ...object(one), wrong: other }),
});

describeJunkOn((conclave) => conclave.rwLock("a").write(), {
  "writeHold.downgrade": (hold, one, other) => hold.downgrade({ ...object(one), wrong: other }),
});
