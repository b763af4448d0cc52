import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";

// Holds locks, each in a session of its own, and keeps asking whether they are held; says when the last one was.
const [endpoint = "", ttlMs = "", ...names] = process.argv.slice(2);
const say = (message: object): void => console.log(JSON.stringify(message));

const holds = await Promise.all(
  names.map(async (name) => {
    const conclave = await connect(etcd({ endpoints: [endpoint] }), { ttlMs: Number(ttlMs) });
    return await conclave.mutex(name).acquire();
  }),
);
const lastHeld = holds.map(() => 0n);
say({ holding: holds.length });

const ask = (): void => {
  holds.forEach((hold, index) => {
    const asked = process.hrtime.bigint();
    if (hold.isHeld()) lastHeld[index] = asked;
  });
  if (holds.some((hold) => hold.isHeld())) setImmediate(ask);
  else say({ lastHeld: lastHeld.map(String) });
};
ask();
