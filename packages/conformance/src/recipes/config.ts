import type { ConfigSnapshot, Json, StandardSchema } from "@conclave/core";
import { sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import { eventually, type Scene, type Suite } from "../context.ts";
import { keysOf, numbered, put, remove, texts } from "../entries.ts";
import {
  deathMs,
  type Process,
  type ProcessOptions,
  quiet,
  rejection,
  start,
  startLinked,
  startMany,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, insist, seeds, Trouble, troubledMs } from "./under-jitter.ts";

/** Longer than a view takes to find out, unprompted, that the store is away or back. */
const probingMs = 20_000;

/** A schema of our own make: what is wrong with a value, or what becomes of it. */
function schema<Output, Input extends Json = Json>(
  make: (value: unknown) => { value: Output } | { issue: string; at?: string },
  later = false,
): StandardSchema<Input, Output> {
  const validate = (value: unknown) => {
    const made = make(value);
    if ("value" in made) return made;
    const path = made.at === undefined ? undefined : [made.at];
    return { issues: [{ message: `${made.issue}: ${JSON.stringify(value)}`, path }] };
  };
  return {
    "~standard": { version: 1, vendor: "suite", validate: later ? async (value) => validate(value) : validate },
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

const schemas = {
  /** `{ max }`, of which the maximum must be positive. */
  limits: schema<{ max: number }, { max: number }>((value) => {
    if (!isRecord(value)) return { issue: "no limits" };
    const { max } = value;
    return typeof max === "number" && max > 0 ? { value: { max } } : { issue: "no maximum", at: "max" };
  }),
  /** Texts, of which a set is made; checked asynchronously. */
  flags: schema<ReadonlySet<string>, readonly string[]>(
    (value) => (Array.isArray(value) ? { value: new Set<string>(value) } : { issue: "no flags" }),
    true,
  ),
  note: schema<string, string>((value) => (typeof value === "string" ? { value } : { issue: "no text" })),
};
const defaults = { limits: { max: 1 } };

const configOf = ({ conclave }: Process, history?: number) => conclave.config("a", schemas, { defaults, history });
type Snapshot = ConfigSnapshot<typeof schemas, typeof defaults>;

function openIn(scene: Scene, process: Process) {
  return configOf(process)
    .open()
    .then((settings) => scene.use(settings));
}

/** The values of a snapshot, with which keys hold bad data. */
function shown({ values, errors }: Snapshot): unknown {
  const bad = Object.keys(errors);
  return { ...values, ...(bad.length > 0 && { bad }) };
}

const nothingSet = { limits: { max: 1 }, flags: undefined, note: undefined };

/** Settings that schemas check, for everybody. */
export function config(suite: Suite): void {
  suite.it("shows defaults, or nothing, before anything is set", async (_backend, scene) => {
    const process = await start(scene);
    const settings = await openIn(scene, process);
    expect(settings.snapshot).toMatchObject({ values: nothingSet, errors: {}, stale: false });
    expect(settings.snapshot.revisions).toEqual({ limits: undefined, flags: undefined, note: undefined });
    expect(await configOf(process).get("limits")).toEqual({ max: 1 });
    expect(await configOf(process).get("note")).toBeUndefined();
    expect((await configOf(process).read()).values).toEqual(nothingSet);
  });

  suite.it(
    "sets several keys at one revision, and shows everybody what schemas make of them",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      const views = [await openIn(scene, one), await openIn(scene, other)];
      const seen: unknown[] = [];
      const reading = (async () => {
        for await (const snapshot of views[1] as AsyncIterable<Snapshot>) seen.push(shown(snapshot));
      })();
      const { revision } = await configOf(one).set({ limits: { max: 5 }, flags: ["x", "y", "x"] });
      const wanted = { limits: { max: 5 }, flags: new Set(["x", "y"]), note: undefined };
      for (const view of views) await scene.eventually(backend, () => expect(shown(view.snapshot)).toEqual(wanted));
      expect(views[0]?.snapshot.revisions).toEqual({ limits: revision, flags: revision, note: undefined });
      expect(views[0]?.snapshot.revision).toBeGreaterThanOrEqual(revision);
      // Never one of the two without the other.
      await scene.eventually(backend, () => expect(seen).toEqual([nothingSet, wanted]));
      expect(await configOf(other).get("flags")).toEqual(new Set(["x", "y"]));
      expect(shown(await configOf(other).read())).toEqual(wanted);
      expect((await texts(backend.kv, "config/a/values/"))["config/a/values/flags"]).toBe('["x","y","x"]');
      await views[1]?.[Symbol.asyncDispose]();
      await reading;
    },
  );

  suite.it(
    "sets nothing when one of the values is not what its schema allows, and shows it to nobody",
    async (backend, scene) => {
      const { conclave } = await start(scene);
      const config = conclave.config("a", schemas);
      for (const wrong of [{ limits: { max: -7_654_321 } }, { flags: "7654321" }, { note: 7_654_321 }]) {
        // biome-ignore lint/suspicious/noExplicitAny: wrong on purpose
        const error = (await rejection(config.set({ note: "right", ...wrong } as any))) as Error & {
          issues: unknown[];
        };
        expect(error).toBeInstanceOf(TypeError);
        expect(error.name).toBe("InvalidSettingError");
        expect(error.message).not.toContain("7654321");
        expect(JSON.stringify(error.issues)).toContain("7654321");
      }
      expect(await rejection(config.set({ limits: { max: 0 } }))).toMatchObject({
        key: "limits",
        message: "limits of set is not what its schema allows, at max",
      });
      expect(await texts(backend.kv)).toEqual({});
    },
  );

  suite.it("keeps the last good value over bad data, says what is wrong, and warns once", async (backend, scene) => {
    const warnings: string[] = [];
    const process = await start(scene, { onWarning: (warning) => warnings.push(warning) });
    const settings = await openIn(scene, process);
    const comesTo = (wanted: unknown) =>
      scene.eventually(backend, () => expect(shown(settings.snapshot)).toEqual(wanted));
    await configOf(process).set({ limits: { max: 5 }, note: "good" });
    await comesTo({ ...nothingSet, limits: { max: 5 }, note: "good" });
    for (const bad of ['{"max":"7654321"}', "no JSON 7654321"]) {
      const { revision } = await backend.kv.commit({ then: [put("config/a/values/limits", bad)] });
      await scene.eventually(backend, () => expect(settings.snapshot.revisions.limits).toBe(revision));
      await comesTo({ ...nothingSet, limits: { max: 5 }, note: "good", bad: ["limits"] });
      expect(settings.snapshot.errors.limits).toMatchObject({ code: "CORRUPT" });
      expect(await rejection(configOf(process).get("limits"))).toMatchObject({ code: "CORRUPT" });
    }
    await configOf(process).set({ note: "other" });
    await comesTo({ ...nothingSet, limits: { max: 5 }, note: "other", bad: ["limits"] });
    expect(warnings).toHaveLength(2);
    expect(warnings.join()).toMatch(/config\/a\/values\/limits/);
    expect(warnings.join()).not.toContain("7654321");
    await backend.kv.commit({ then: [put("config/a/values/limits", '{"max":9}')] });
    await comesTo({ ...nothingSet, limits: { max: 9 }, note: "other" });
  });

  suite.it(
    "opens over bad data, with the default, and passes over keys that it does not know",
    async (backend, scene) => {
      const process = await start(scene);
      const bad = [
        put("config/a/values/limits", "["),
        put("config/a/values/flags", "7"),
        put("config/a/values/b", "["),
      ];
      await backend.kv.commit({ then: bad });
      const settings = await openIn(scene, process);
      expect(shown(settings.snapshot)).toEqual({ ...nothingSet, bad: ["limits", "flags"] });
      const { snapshot } = settings;
      await backend.kv.commit({ then: [put("config/a/values/c", "1"), put("config/ab/values/limits", "{}")] });
      await quiet(backend, scene);
      expect(settings.snapshot).toBe(snapshot);
    },
  );

  suite.it("has the default again when somebody deletes a key", async (backend, scene) => {
    const process = await start(scene);
    await configOf(process).set({ limits: { max: 5 }, note: "here" });
    const settings = await openIn(scene, process);
    await remove(backend.kv, "config/a/values/limits", "config/a/values/note");
    await scene.eventually(backend, () => expect(shown(settings.snapshot)).toEqual(nothingSet));
  });

  suite.it("shows a slow reader the newest, and ends a view as it should", async (backend, scene) => {
    const process = await start(scene);
    const controller = new AbortController();
    const cancelled = await configOf(process).open({ signal: controller.signal });
    const closed = await configOf(process).open();
    const settings = await openIn(scene, process);
    const reader = settings[Symbol.asyncIterator]();
    await reader.next();
    for (const note of numbered(10)) await configOf(process).set({ note });
    await scene.eventually(backend, () => expect(settings.snapshot.values.note).toBe("00009"));
    expect((await reader.next()).value?.values.note).toBe("00009");
    const next = reader.next();
    await staysOpen(backend, scene, next);
    await settings[Symbol.asyncDispose]();
    expect((await next).done).toBe(true);
    expect(settings.snapshot).toMatchObject({ stale: true, values: { note: "00009" } });
    const drained = async (view: AsyncIterable<unknown>) => {
      for await (const _ of view);
    };
    const [first, second] = [rejection(drained(cancelled)), rejection(drained(closed))];
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await first).toBe(reason);
    expect(await rejection(configOf(process).open({ signal: controller.signal }))).toBe(reason);
    await process.conclave.close();
    expect(await second).toMatchObject({ code: "CLOSED" });
  });

  suite.it("keeps settings whose setter dies", async (backend, scene) => {
    const victim = await startMortal(scene);
    await configOf(victim).set({ note: "last words" });
    await scene.kill(victim.backend);
    await sleep(backend.clock, deathMs(scene));
    expect(await configOf(await start(scene)).get("note")).toBe("last words");
  });

  suite.it(
    "keeps what was last known, and says that it is stale, until the store answers again",
    async (backend, scene) => {
      const [writer, reader] = [await start(scene), await startLinked(scene)];
      await configOf(writer).set({ note: "before" });
      const settings = await openIn(scene, reader);
      reader.link.cut();
      await configOf(writer).set({ note: "after" });
      await eventually(backend.clock, probingMs, () => expect(settings.snapshot.stale).toBe(true));
      expect(settings.snapshot.values.note).toBe("before");
      expect(await rejection(configOf(reader).set({ note: "meanwhile" }))).toMatchObject({ code: "UNAVAILABLE" });
      reader.link.mend();
      await eventually(backend.clock, probingMs, () => expect(settings.snapshot.stale).toBe(false));
      await scene.eventually(backend, () => expect(settings.snapshot.values.note).toBe("after"));
    },
  );
}

/** Who sets what, and what was set before. */
export function configWrites(suite: Suite): void {
  suite.it("sets nothing over what changed meanwhile, and says which keys did", async (backend, scene) => {
    const [one, other] = (await startPair(scene)).map((process) => configOf(process)) as [
      ReturnType<typeof configOf>,
      ReturnType<typeof configOf>,
    ];
    const { revisions: before } = await one.read();
    const { revision } = await other.set({ limits: { max: 5 } });
    expect(await one.set({ limits: { max: 6 }, note: "n" }, { ifUnchanged: before })).toEqual({
      succeeded: false,
      changed: ["limits"],
    });
    expect(await one.get("note")).toBeUndefined();
    expect(await one.set({ limits: { max: 6 } }, { ifUnchanged: { limits: revision } })).toMatchObject({
      succeeded: true,
    });
    // Also for a key that is not set here, and for one that somebody deleted.
    const { revisions } = await one.read();
    await other.set({ limits: { max: 7 } });
    const unchanged = { limits: revisions.limits };
    expect(await one.set({ note: "n" }, { ifUnchanged: unchanged })).toMatchObject({ changed: ["limits"] });
    const { revisions: newest } = await one.read();
    expect(await one.set({ note: "m" }, { ifUnchanged: newest })).toMatchObject({ succeeded: true });
    await remove(backend.kv, "config/a/values/limits");
    expect(await one.set({ note: "n" }, { ifUnchanged: unchanged })).toMatchObject({ changed: ["limits"] });
    expect(await one.set({ note: "n" }, { ifUnchanged: { limits: undefined } })).toMatchObject({ succeeded: true });
  });

  suite.it("lets exactly one of many have its way who set the same unchanged key at once", async (backend, scene) => {
    const processes = await startMany(scene, 4);
    for (let round = 1; round <= 4; round++) {
      const { revisions } = await configOf(processes[0] as Process).read();
      const tries = processes.map((process) =>
        configOf(process).set({ limits: { max: round } }, { ifUnchanged: revisions }),
      );
      const done = await within(backend, scene.patienceMs, Promise.all(tries));
      expect(done.filter(({ succeeded }) => succeeded)).toHaveLength(1);
    }
    expect(await configOf(processes[0] as Process).history("limits")).toHaveLength(4);
  });

  suite.it("keeps the last versions of each key, newest first, with who set them and when", async (backend, scene) => {
    const [one, other] = [await start(scene, { owner: "one" }), await start(scene, { owner: "other" })];
    const before = backend.clock.wallMs();
    const revisions: bigint[] = [];
    for (const [index, process] of [one, other, one, one, other].entries()) {
      revisions.push((await configOf(process, 3).set({ note: `note ${index}`, flags: [] })).revision);
    }
    const versions = await configOf(one).history("note");
    expect(versions.map(({ version, value, revision, by }) => [version, value, revision, by])).toEqual([
      [5, "note 4", revisions[4], "other"],
      [4, "note 3", revisions[3], "one"],
      [3, "note 2", revisions[2], "one"],
    ]);
    for (const { atMs } of versions) {
      expect(atMs).toBeGreaterThanOrEqual(before);
      expect(atMs).toBeLessThanOrEqual(backend.clock.wallMs());
    }
    expect(await configOf(one).history("limits")).toEqual([]);
    expect(keysOf(await backend.kv.list("config/a/history/"))).toHaveLength(6);
  });

  suite.it("sets again what an earlier version was, as a new version", async (_backend, scene) => {
    const process = await start(scene, { owner: "one" });
    const config = configOf(process, 3);
    for (const max of [1, 2, 3]) await config.set({ limits: { max } });
    expect(await config.rollback("limits", 1)).toMatchObject({ succeeded: true });
    expect(await config.get("limits")).toEqual({ max: 1 });
    const versions = await config.history("limits");
    expect(versions.map(({ version, value }) => [version, value])).toEqual([
      [4, { max: 1 }],
      [3, { max: 3 }],
      [2, { max: 2 }],
    ]);
    expect(await config.rollback("limits", 1)).toBeUndefined();
    expect(await config.rollback("limits", 9)).toBeUndefined();
    const strict = process.conclave.config("a", { limits: schema(() => ({ issue: "never" })) });
    expect(await rejection(strict.rollback("limits", 2))).toBeInstanceOf(TypeError);
    expect(await config.get("limits")).toEqual({ max: 1 });
  });

  suite.it("goes on with versions after somebody wrote a value by hand or spoilt a version", async (backend, scene) => {
    const config = configOf(await start(scene));
    await config.set({ note: "one" });
    await config.set({ note: "two" });
    const [oldest] = keysOf(await backend.kv.list("config/a/history/note/"));
    await backend.kv.commit({ then: [put("config/a/values/note", '"by hand"'), put(oldest as string, "spoilt")] });
    expect(await config.get("note")).toBe("by hand");
    expect((await config.history("note")).map(({ value }) => value)).toEqual(["two"]);
    expect(await config.rollback("note", 1)).toBeUndefined();
    await config.set({ note: "three" });
    expect((await config.history("note")).map(({ version }) => version)).toEqual([3, 2]);
  });

  suite.it("sets nothing for a signal that has aborted already", async (backend, scene) => {
    const process = await start(scene);
    await process.conclave.session();
    const signal = AbortSignal.abort(new Error("too late"));
    for (const call of [
      () => configOf(process).set({ note: "n" }, { signal }),
      () => configOf(process).rollback("note", 1, { signal }),
      () => configOf(process).get("note", { signal }),
      () => configOf(process).history("note", { signal }),
    ])
      expect(await rejection(call())).toBe(signal.reason);
    await quiet(backend, scene);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("sets each value once, and loses none that was acknowledged, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    const lasting: ProcessOptions = { ttlMs: 20 * scene.timing.ttlMs };
    for (const seed of seeds(scene)) {
      const processes = await trouble.startMany(seed, 3, lasting);
      const view = await insist(() => openIn(scene, processes[0] as Process));
      const notes: string[] = [];
      const setMany = async (process: Process, index: number) => {
        for (const number of numbered(5)) {
          const note = `${index} ${number}`;
          await insist(() => configOf(process, 50).set({ note, limits: { max: 1 + notes.length } }));
          notes.push(note);
        }
      };
      await within(backend, troubledMs(scene), Promise.all(processes.map(setMany)));
      const versions = await insist(() => configOf(processes[1] as Process).history("note"));
      expect(versions.map(({ version }) => version).reverse(), `seed ${seed}`).toEqual(
        Array.from({ length: 15 }, (_, index) => index + 1),
      );
      expect(versions.map(({ value }) => value).sort(), `seed ${seed}`).toEqual([...notes].sort());
      await scene.eventually(backend, () => expect(view.snapshot.values.note).toBe(versions[0]?.value));
      await closeAll(processes);
      await remove(backend.kv, ...Object.keys(await texts(backend.kv, "config/")));
    }
    trouble.expectAtLeast(1, ...everyFault, "gaps");
  });
}

/** Settings cost no more round trips than their algorithm needs. */
export function configRoundTrips(suite: Suite): void {
  suite.it("takes one read to show settings, and a watch more to follow them", async (_backend, scene) => {
    const { conclave, counted, ...rest } = await startCounted(scene);
    const config = configOf({ conclave, ...rest });
    expect((await cost(counted, () => config.get("note")))[0]).toEqual({ get: 1 });
    expect((await cost(counted, () => config.read()))[0]).toEqual({ list: 1 });
    expect((await cost(counted, () => config.history("note")))[0]).toEqual({ list: 1 });
    const [opening, settings] = await cost(counted, () => config.open());
    expect(opening).toEqual({ watch: 1, list: 1 });
    await settings[Symbol.asyncDispose]();
  });

  suite.it("takes two commits to set any keys, and a read more to roll one back", async (_backend, scene) => {
    const { conclave, counted, ...rest } = await startCounted(scene);
    const config = configOf({ conclave, ...rest }, 2);
    for (const max of [1, 2, 3, 4]) {
      const values = { limits: { max }, flags: ["a"], note: "n" };
      expect((await cost(counted, () => config.set(values)))[0]).toEqual({ commit: 2 });
    }
    expect((await cost(counted, () => config.rollback("limits", 3)))[0]).toEqual({ get: 1, commit: 2 });
    const { revisions } = await config.read();
    await config.set({ note: "other" });
    const refused = await cost(counted, () => config.set({ note: "n" }, { ifUnchanged: revisions }));
    expect(refused).toEqual([{ commit: 1 }, { succeeded: false, changed: ["note"] }]);
  });
}
