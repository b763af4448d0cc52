import { connect, decode, encode, isCoordinationError, scoped, tokenOf } from "@conclave/core";
import { describeJunk, describeJunkOn, object, text } from "./junk.ts";

describeJunk({
  "mutex.acquire": (c, one, other) => c.mutex(one).acquire({ ...object(other), wrong: 1 }),
  "mutex.tryAcquire": (c, one, other) => c.mutex(one).tryAcquire({ ...object(other), wrong: 1 }),
  "mutex.run": (c, one, other) => c.mutex("a").run(text(one), other),
  "mutex.queue": (c, one, other) => c.mutex(one).queue(other),
  "election.campaign": (c, one, other) => c.election(one).campaign({ ...object(other), wrong: 1 }),
  "election.run": (c, one, other) => c.election("a").run(text(one), other),
  "election.leader": (c, one, other) => c.election(one).leader(other),
  "election.observe": (c, one, other) =>
    c
      .election("a")
      .observe({ [String(typeof one)]: other })
      .next(),
  "service.register": (c, one, other) => c.service(one).register({ ...object(other), address: undefined }),
  "service.instances": (c, one, other) => c.service(one).instances({ ...object(other), wrong: 1 }),
  "kv.get": (c, one, other) => c.kv.get(one, other),
  "kv.list": (c, one, other) => c.kv.list(one, other),
  "kv.commit": (c, one, other) => c.kv.commit({ if: [one], then: [{ put: "a", value: text(other) }] }),
  "kv.commit of anything": (c, one, other) => c.kv.commit({ if: one, then: other, else: one }),
  "kv.commit with anything": (c, one, other) => c.kv.commit({ then: [one, { touch: other }] }, other),
  "backend.watch": (c, one, other) => c.backend.watches.watch(one, { ...object(other), wrong: 1 }),
  "backend.grant": (c, one, other) => c.backend.leases.grant({ ttlMs: one, wrong: other }),
  session: (c, one, other) => c.session({ [String(typeof one)]: other }),
  connect: (_, one, other) => connect(one, other),
  "service.watch": (c, one, other) =>
    c
      .service(one)
      .watch({ ...object(other), wrong: 1 })
      .next(),
  decode: (_, one) => decode(one),
  encode: (_, one) => encode(one),
  scoped: (_, one, other) => scoped(one, other),
  tokenOf: (_, one, other) => tokenOf(one, other),
  isCoordinationError: (_, one, other) => isCoordinationError(one, other),
});

describeJunkOn((conclave) => conclave.mutex("a").acquire(), {
  "hold.guard": (hold, one) => hold.guard(one),
});

describeJunkOn((conclave) => conclave.election("a").campaign(), {
  "leadership.proclaim": (leadership, one, other) => leadership.proclaim(one, { ...object(other), wrong: 1 }),
  "leadership.proclaim of no text": (leadership, one) => leadership.proclaim([one]),
});

describeJunkOn((conclave) => conclave.service("a").register({ address: "x:1" }), {
  "registration.update": (registration, one, other) => registration.update({ ...object(one), wrong: other }),
  "registration.update with options": (registration, one, other) =>
    registration.update({ weight: 2 }, { ...object(one), wrong: other }),
});

describeJunkOn((conclave) => conclave.service("a").instances(), {
  "instances.pick": (instances, one, other) => instances.pick(one, other),
  "instances.subscribe": (instances, one, other) => instances.subscribe({ ...object(one), started: [other] }),
});

describeJunkOn((conclave) => conclave.replica("a/"), {
  "replica.views": (replica, one) => replica.views(one).next(),
});
