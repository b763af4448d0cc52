import { type Conclave, connect, type StandardSchema } from "@conclave/core";
import type { Txn } from "@conclave/core/backend";
import { type } from "arktype";
import * as v from "valibot";
import { afterEach, describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import { type Any, deferred, failure, keys, losingAnswers, outcome, put, puts, type World, world } from "./kit.ts";

let playing: Disposable | undefined;
afterEach(() => playing?.[Symbol.dispose]());

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave; warnings: string[] }> {
  const here = await world();
  const warnings: string[] = [];
  const onWarning = (warning: string) => void warnings.push(warning);
  const conclave = await connect(here.backend, { owner: "we", onWarning });
  const neighbour = await connect(here.other);
  await conclave.session();
  playing = here.clock.play();
  return { ...here, conclave, neighbour, warnings };
}

/** The same three settings, by makers of schemas: `limits`, `mode`, and `since`, of which text becomes a date. */
const makers = {
  zod: {
    limits: z.object({ max: z.number().positive(), name: z.string().optional() }),
    mode: z.enum(["on", "off"]),
    since: z.string().transform((text) => new Date(text)),
  },
  valibot: {
    limits: v.object({ max: v.pipe(v.number(), v.minValue(1)), name: v.optional(v.string()) }),
    mode: v.picklist(["on", "off"]),
    since: v.pipe(
      v.string(),
      v.transform((text) => new Date(text)),
    ),
  },
  arktype: {
    limits: type({ max: "number > 0", "name?": "string" }),
    mode: type("'on' | 'off'"),
    since: type("string").pipe((text) => new Date(text)),
  },
};

describe.each(Object.entries(makers))("a configuration with schemas of %s", (_, schemas) => {
  test("gives back what schemas make of what was set", async () => {
    const { conclave, neighbour } = await connected();
    const config = conclave.config("a", schemas as typeof makers.zod, { defaults: { mode: "off" } });
    expect((await config.read()).values).toEqual({ limits: undefined, mode: "off", since: undefined });
    await config.set({ limits: { max: 3 }, mode: "on", since: "2026-01-02" });
    const theirs = neighbour.config("a", schemas as typeof makers.zod);
    expect(await theirs.get("since")).toEqual(new Date("2026-01-02"));
    expect((await theirs.read()).values).toEqual({ limits: { max: 3 }, mode: "on", since: new Date("2026-01-02") });
  });

  test("refuses what schemas refuse, says where, and shows nothing of it", async () => {
    const { backend, conclave } = await connected();
    const config: Any = conclave.config("a", schemas as typeof makers.zod);
    const before = backend.count("commit");
    for (const [values, where] of [
      [{ mode: "on", limits: { max: "hunter2" } }, /^limits of set is not what its schema allows, at max$/],
      [{ limits: { max: 1, name: { password: "hunter2" } } }, /^limits of set is not .*, at name$/],
      [{ mode: "hunter2" }, /^mode of set is not what its schema allows$/],
    ]) {
      const error = await config.set(values).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(TypeError);
      expect(error).toMatchObject({ name: "InvalidSettingError", message: expect.stringMatching(where as RegExp) });
      expect(error.issues.length).toBeGreaterThan(0);
      expect(JSON.stringify(error) + error.stack + String(error)).not.toContain("hunter2");
    }
    expect(backend.count("commit")).toBe(before);
  });

  test("keeps the last good value over bad data", async () => {
    const { clock, other, conclave, warnings } = await connected();
    const config = conclave.config("a", schemas as typeof makers.zod);
    await using settings = await config.open();
    await config.set({ limits: { max: 3 } });
    await put(other, "config/a/values/limits", '{"max":-1}');
    await clock.advance(1);
    expect(settings.snapshot.values.limits).toEqual({ max: 3 });
    expect(settings.snapshot.errors.limits).toMatchObject({
      code: "CORRUPT",
      message: expect.stringMatching(/at max$/),
    });
    expect(warnings).toHaveLength(1);
  });
});

test("values are of the types that schemas and defaults say", async () => {
  const { conclave } = await connected();
  const { limits, since } = makers.zod;
  const config = conclave.config(
    "a",
    { limits, since, kind: makers.valibot.mode, other: makers.arktype.mode },
    { defaults: { limits: { max: 1 } } },
  );
  const { values, revisions } = await config.read();
  expectTypeOf(values.limits).toEqualTypeOf<{ max: number; name?: string | undefined }>();
  expectTypeOf(values.since).toEqualTypeOf<Date | undefined>();
  expectTypeOf(values.kind).toEqualTypeOf<"on" | "off" | undefined>();
  expectTypeOf(values.other).toEqualTypeOf<"on" | "off" | undefined>();
  expectTypeOf(revisions.kind).toEqualTypeOf<bigint | undefined>();
  expectTypeOf(await config.get("limits")).toEqualTypeOf<{ max: number; name?: string | undefined }>();
  expectTypeOf((await config.set({ since: "2026" })).succeeded).toEqualTypeOf<true>();
  expectTypeOf((await config.set({ kind: "on" }, { ifUnchanged: revisions })).succeeded).toEqualTypeOf<boolean>();
  // @ts-expect-error: a date is what comes out, text is what goes in
  await expect(config.set({ since: new Date(0), limits: 5 })).rejects.toThrow(TypeError);
  // @ts-expect-error: no such key
  await expect(config.get("limit")).rejects.toThrow(RangeError);
});

const note = { note: z.string() };
const isSetting = (call: Any) => puts(call) && JSON.stringify((call.argument as Txn).then).includes("config/a/values");

describe("setting", () => {
  test("sets once what was applied unheard, and keeps what others set since", async () => {
    const { backend, conclave, neighbour } = await connected();
    backend.fault = losingAnswers(isSetting, 3);
    await conclave.config("a", note).set({ note: "once" });
    let first = true;
    backend.fault = async (call, proceed) => {
      if (!isSetting(call) || !first) return proceed();
      first = false;
      await proceed();
      await neighbour.config("a", note).set({ note: "theirs" });
      throw failure("OUTCOME_UNKNOWN");
    };
    const { revision } = await conclave.config("a", note).set({ note: "ours" });
    const versions = await neighbour.config("a", note).history("note");
    expect(versions.map(({ value }) => value)).toEqual(["theirs", "ours", "once"]);
    expect(versions[1]?.revision).toBe(revision);
    expect(await neighbour.config("a", note).get("note")).toBe("theirs");
  });

  test("sets what it was given though another sets the same between look and commit", async () => {
    const { backend, conclave, neighbour } = await connected();
    let others = 0;
    backend.fault = async (call, proceed) => {
      if (isSetting(call) && others++ < 3) await neighbour.config("a", note).set({ note: `other ${others}` });
      return proceed();
    };
    await conclave.config("a", note).set({ note: "ours" });
    const values = (await conclave.config("a", note).history("note")).map(({ value }) => value);
    expect(values).toEqual(["ours", "other 3", "other 2", "other 1"]);
  });

  test("says what changed when another sets it between look and commit", async () => {
    const { backend, conclave, neighbour } = await connected();
    const { revisions } = await conclave.config("a", note).read();
    let first = true;
    backend.fault = async (call, proceed) => {
      if (isSetting(call) && first) {
        first = false;
        await neighbour.config("a", note).set({ note: "theirs" });
      }
      return proceed();
    };
    const done = await conclave.config("a", note).set({ note: "ours" }, { ifUnchanged: revisions });
    expect(done).toEqual({ succeeded: false, changed: ["note"] });
    expect(await conclave.config("a", note).get("note")).toBe("theirs");
  });

  test("sets 24 keys at once, with their histories, and refuses more", async () => {
    const { other, conclave } = await connected();
    const names = Array.from({ length: 25 }, (_, index) => `key ${index}`);
    const schemas = Object.fromEntries(names.map((name) => [name, z.number()]));
    const config = conclave.config("a", schemas, { history: 2 });
    const values = (value: number, count: number) =>
      Object.fromEntries(names.slice(0, count).map((name) => [name, value]));
    for (let value = 0; value < 5; value++)
      await config.set(values(value, 24), { ifUnchanged: (await config.read()).revisions });
    expect(await keys(other, "config/a/history/")).toHaveLength(48);
    await expect(config.set(values(1, 25))).rejects.toThrow(/from 1 to 24 keys, not 25/);
    // A shorter history is come down to, a few versions at a time.
    const long = conclave.config("a", schemas, { history: 30 });
    for (let value = 0; value < 30; value++) await long.set(values(value, 20));
    for (let value = 0; value < 30; value++) await config.set(values(value, 20));
    expect(await config.history("key 3")).toHaveLength(2);
  });

  test("refuses more than a commit can carry, before it sends anything", async () => {
    const { backend, conclave } = await connected();
    const before = backend.count("commit");
    const large = "x".repeat(224 * 1024);
    await expect(conclave.config("a", note).set({ note: large })).rejects.toThrow(
      /at most 229376 bytes of JSON, not 229/,
    );
    expect(backend.count("commit")).toBe(before);
    await conclave.config("a", note).set({ note: large.slice(1_000) });
  });

  test("takes a schema that throws for one that refuses, and one that never answers for patience", async () => {
    const { conclave } = await connected();
    const failing = (validate: (value: unknown) => Any): { note: StandardSchema<string> } => ({
      note: { "~standard": { version: 1, vendor: "test", validate } },
    });
    const thrown = failing(() => {
      throw new Error("hunter2");
    });
    const error = await conclave
      .config("a", thrown)
      .set({ note: "a" })
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "InvalidSettingError", message: "note of set is not what its schema allows" });
    const odd = failing(() => undefined);
    await expect(conclave.config("a", odd).set({ note: "a" })).rejects.toThrow(/not what its schema allows/);
    await conclave.config("a", note).set({ note: "b" });
    const silent = failing(() => new Promise(() => {}));
    const opening = outcome(conclave.config("a", silent).open({ signal: AbortSignal.timeout(20) }));
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(opening.error).toMatchObject({ name: "TimeoutError" });
  });
});

describe("a view of settings", () => {
  test("validates only what was written anew, and shows the newest when a schema is slow", async () => {
    const { clock, conclave } = await connected();
    const slow = deferred<void>();
    const calls: unknown[] = [];
    const watched: StandardSchema<string> = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: async (value) => {
          calls.push(value);
          if (value === "slow") await slow.promise;
          return { value: value as string };
        },
      },
    };
    const writing = conclave.config("a", { note: z.string(), other: z.string() });
    await writing.set({ note: "first", other: "same" });
    await using settings = await conclave.config("a", { note: watched, other: watched }).open();
    expect(calls).toEqual(["first", "same"]);
    await writing.set({ note: "slow" });
    await clock.advance(1);
    await writing.set({ note: "fast" });
    await clock.advance(1);
    expect([settings.snapshot.values.note, calls]).toEqual(["first", ["first", "same", "slow"]]);
    slow.resolve();
    await clock.advance(1);
    expect([settings.snapshot.values.note, calls]).toEqual(["fast", ["first", "same", "slow", "fast"]]);
  });

  test("leaves no timer behind when it ends", async () => {
    const { clock, conclave } = await connected();
    const timers = clock.pendingTimers;
    const settings = await conclave.config("a", note).open();
    await settings[Symbol.asyncDispose]();
    await settings[Symbol.asyncDispose]();
    await clock.advance(1);
    expect(clock.pendingTimers).toBe(timers);
    for await (const _ of settings) throw new Error("it has ended");
  });

  test("is watched by a loop, and gone with it", async () => {
    const { clock, conclave } = await connected();
    const config = conclave.config("a", note);
    const timers = clock.pendingTimers;
    const notes: unknown[] = [];
    for await (const { values } of config.watch()) {
      notes.push(values.note);
      if (values.note === "2") break;
      await config.set({ note: String(notes.length) });
    }
    await clock.advance(1);
    expect([notes, clock.pendingTimers]).toEqual([[undefined, "1", "2"], timers]);
  });
});

const anything = (validate = (value: Any): Any => ({ value })): StandardSchema<Any> => ({
  "~standard": { version: 1, vendor: "ours", validate },
});

test("a key called as what every object has is unset until it is set", async () => {
  const { conclave } = await connected();
  const config: Any = conclave.config("a", { constructor: anything(), toString: anything() } as Any);
  expect(await config.get("constructor")).toBe(undefined);
  const { values } = await config.read();
  expect([values.constructor, values.toString]).toEqual([undefined, undefined]);
});

test("what is rolled back to is what was set, though its schema changes what it is given", async () => {
  const { conclave } = await connected();
  const taking = anything((value) => {
    const { kept } = value;
    delete value.taken;
    return { value: { kept } };
  });
  const config = conclave.config("a", { k: taking });
  await config.set({ k: { kept: 1, taken: 1 } });
  await config.set({ k: { kept: 2, taken: 2 } });
  await config.rollback("k", 1);
  expect((await config.history("k")).map(({ value }) => value)).toEqual([
    { kept: 1, taken: 1 },
    { kept: 2, taken: 2 },
    { kept: 1, taken: 1 },
  ]);
});

test("a view ends with its signal while a schema does not answer", async () => {
  const { clock, conclave, neighbour } = await connected();
  let asked = false;
  const silent = anything((value) => {
    asked = value === "silence";
    return asked ? new Promise(() => {}) : { value };
  });
  const controller = new AbortController();
  const settings = await conclave.config("a", { k: silent }).open({ signal: controller.signal });
  const end = outcome(
    (async () => {
      for await (const _ of settings);
    })(),
  );
  await neighbour.config("a", { k: anything() }).set({ k: "silence" });
  await clock.advance(100);
  expect(asked).toBe(true);
  controller.abort("enough");
  await clock.advance(0);
  expect(end.error).toBe("enough");
});

test.each(["set", "get", "read", "rollback", "open"] as const)(
  "%s ends with its signal while a schema is silent",
  async (call) => {
    const { clock, conclave, neighbour } = await connected();
    await neighbour.config("a", { k: anything() }).set({ k: "silence" });
    const config: Any = conclave.config("a", { k: anything(() => new Promise(() => {})) });
    const controller = new AbortController();
    const { signal } = controller;
    const calls = {
      set: () => config.set({ k: 1 }, { signal }),
      get: () => config.get("k", { signal }),
      read: () => config.read({ signal }),
      rollback: () => config.rollback("k", 1, { signal }),
      open: () => config.open({ signal }),
    };
    const calling = outcome(calls[call]());
    await clock.advance(10);
    expect(calling.settled).toBe(false);
    controller.abort("enough");
    await clock.advance(0);
    expect(calling.error).toBe("enough");
  },
);
