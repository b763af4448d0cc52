import { connect } from "@conclave/core";
import { expect, test } from "vitest";
import { type Any, failure, losingAnswers, puts, world } from "./kit.ts";

const secret = "hunter2";

/** Everything an error says, and what it says of its causes. */
function said(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return `${error.message} ${error.stack} ${JSON.stringify(error)} ${said(error.cause)}`;
}

test("nothing given as a value ever appears in an error or a warning", async () => {
  const { backend, other, clock } = await world();
  const warnings: string[] = [];
  const conclave: Any = await connect(backend, { owner: `${secret} owner`, onWarning: (text) => warnings.push(text) });
  const errors: unknown[] = [];
  const failing = async (call: () => unknown) => {
    errors.push(
      await (async () => call())().then(
        (value) => `no error: ${typeof value}`,
        (error: unknown) => error,
      ),
    );
  };
  const leadership = await conclave.election("led").campaign({ value: secret });
  const registration = await conclave.service("a").register({ address: secret, metadata: { password: secret } });
  const circle: Any = { [secret]: 1 };
  circle.self = circle;
  const calls: (() => unknown)[] = [
    () => conclave.kv.commit({ then: [{ put: "a", value: secret }] }),
    () => conclave.kv.commit({ then: [{ put: "a", value: { secret } }] }),
    () => conclave.kv.commit({ then: [{ put: "a", value: [secret] }] }),
    () => conclave.kv.commit({ then: [{ put: "a", value: new Uint8Array(600_000).fill(104) }] }),
    () => conclave.kv.commit({ if: [{ key: "a", value: secret }], then: [] }),
    () => conclave.election("a").campaign({ value: `${secret}\0` }),
    () => conclave.election("a").campaign({ value: `${secret}\ud800` }),
    () => conclave.election("a").campaign({ value: [secret] }),
    () => conclave.election("a").campaign({ value: `${secret}${"x".repeat(600_000)}` }),
    () => leadership.proclaim(`${secret}\0`),
    () => leadership.proclaim({ secret }),
    () => conclave.service("a").register({ address: `${secret}\0` }),
    () => conclave.service("a").register({ address: "a", metadata: circle }),
    () => conclave.service("a").register({ address: "a", metadata: { [secret]: 5n } }),
    () => registration.update({ address: `${secret}\ud800` }),
    () => registration.update({ metadata: `${secret}${"x".repeat(600_000)}` }),
    () => connect(backend, { owner: `${secret}\0` }),
  ];
  for (const call of calls) await failing(call);
  backend.fault = async (call, proceed) => {
    if (puts(call)) throw failure("UNAVAILABLE");
    return proceed();
  };
  await failing(() => leadership.proclaim(secret));
  await failing(() => registration.update({ address: secret }));
  await failing(() => conclave.mutex("a").acquire());
  backend.fault = losingAnswers(puts, 99);
  const proclaiming = failing(() => leadership.proclaim(secret));
  await other.kv.commit({ then: [{ delete: leadership.key }] });
  await clock.advance(20_000);
  await proclaiming;
  await conclave.close();
  await failing(() => leadership.proclaim(secret));
  expect(errors.filter((error) => !(error instanceof Error))).toEqual([]);
  for (const error of [...errors, ...warnings]) expect(said(error)).not.toContain(secret);
});
