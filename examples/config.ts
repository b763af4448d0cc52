// Settings that many processes share: checked by a schema, set together, followed live, and put back when they were wrong.
import assert from "node:assert/strict";
import { connect, InvalidSettingError } from "@conclave/core";
import { fromUrl } from "@conclave/url";
import { z } from "zod";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-config", owner: "ada" });
await using other = await connect(store, { namespace: "example-config", owner: "server 1" });

// #region define
// zod here; valibot, arktype and others that keep standardschema.dev do as well.
const schemas = {
  limits: z.object({ perMinute: z.number().int().positive() }),
  flags: z.record(z.string(), z.boolean()),
};
const config = conclave.config("app", schemas, { defaults: { limits: { perMinute: 60 } } });
// #endregion
assert.deepEqual(await config.get("limits"), { perMinute: 60 });

// #region follow
await using settings = await other.config("app", schemas, { defaults: { limits: { perMinute: 60 } } }).open();
console.log(`${settings.snapshot.values.limits.perMinute} a minute`); // no round trip: ask as often as you like
// #endregion
assert.equal(settings.snapshot.values.flags, undefined);

// #region set
const { revision } = await config.set({ limits: { perMinute: 100 }, flags: { checkout: true } });
for await (const { values, revisions } of settings) {
  if (revisions.flags === revision) break; // never one of the two without the other
  console.log(`still ${values.limits.perMinute} a minute`);
}
// #endregion
assert.deepEqual(settings.snapshot.values, { limits: { perMinute: 100 }, flags: { checkout: true } });

// #region refused
const refused = await config.set({ limits: { perMinute: -5 } }).catch((error: unknown) => error);
if (refused instanceof InvalidSettingError) console.log(refused.message); // where, and never what: it may be secret
// #endregion
assert.match(String(refused), /limits of set is not what its schema allows, at perMinute/);

// #region if-unchanged
const { values, revisions } = await config.read();
const raised = { limits: { perMinute: values.limits.perMinute * 2 } };
const set = await config.set(raised, { ifUnchanged: { limits: revisions.limits } });
if (!set.succeeded) console.log(`somebody else set ${set.changed.join()} meanwhile: look again`);
// #endregion
assert(set.succeeded);
assert.equal((await config.set(raised, { ifUnchanged: { limits: revisions.limits } })).succeeded, false);

// #region rollback
for (const { version, value, by } of await config.history("limits")) console.log(version, value, by);
await config.rollback("limits", 1);
// #endregion
assert.deepEqual(await config.get("limits"), { perMinute: 100 });
for await (const { values } of settings) if (values.limits.perMinute === 100) break;

// By hand, or by a newer version of the program.
await conclave.kv.commit({ then: [{ put: "config/app/values/limits", value: new TextEncoder().encode("unlimited") }] });

// #region bad-data
for await (const { values, errors } of settings) {
  if (errors.limits) console.log(`${errors.limits.code}: it stays at ${values.limits.perMinute} a minute`);
  if (errors.limits) break;
}
// #endregion
assert.deepEqual(settings.snapshot.values.limits, { perMinute: 100 });
assert.equal(settings.snapshot.errors.limits?.code, "CORRUPT");

// Settings outlive who set them, so that an example must take its own away.
const { entries } = await conclave.kv.list("config/app/");
await conclave.kv.commit({ then: entries.map(({ key }) => ({ delete: key })) });
