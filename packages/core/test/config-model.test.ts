import { connect } from "@conclave/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import { put, remove, world } from "./kit.ts";

const schemas = { a: z.number(), b: z.number() };
const key = fc.constantFrom("a" as const, "b" as const);
const value = fc.integer({ min: 0, max: 99 });
const history = 3;

/** What people and programs do to a configuration, one thing after another. */
const step = fc.oneof(
  fc.record({
    kind: fc.constant("set" as const),
    values: fc.oneof(fc.record({ a: value }), fc.record({ a: value, b: value })),
  }),
  fc.record({ kind: fc.constant("set if unchanged" as const), key, value, other: key, isFresh: fc.boolean() }),
  fc.record({ kind: fc.constant("roll back" as const), key, version: fc.integer({ min: 1, max: 12 }) }),
  fc.record({ kind: fc.constant("write by hand" as const), key, value }),
  fc.record({ kind: fc.constant("spoil" as const), key }),
  fc.record({ kind: fc.constant("delete" as const), key }),
);

test("a configuration does as a table with a list of versions would, whatever is done to it", async () => {
  const { backend, other } = await world();
  const conclave = await connect(backend);
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const name = `run ${++runs}`;
      const config = conclave.config(name, schemas, { history, defaults: { a: -1 } });
      const values: { a?: number | "bad"; b?: number | "bad" } = {};
      const versions: Record<"a" | "b", { version: number; value: number }[]> = { a: [], b: [] };
      let seen = (await config.read()).revisions;
      let changed = new Set<"a" | "b">();
      const wrote = (key: "a" | "b", value: number) => {
        values[key] = value;
        versions[key] = [{ version: (versions[key][0]?.version ?? 0) + 1, value }, ...versions[key]].slice(0, history);
        changed.add(key);
      };
      for (const step of steps) {
        if (step.kind === "set") {
          expect(await config.set(step.values)).toMatchObject({ succeeded: true });
          for (const [key, value] of Object.entries(step.values)) wrote(key as "a" | "b", value);
        } else if (step.kind === "set if unchanged") {
          if (step.isFresh) [seen, changed] = [(await config.read()).revisions, new Set()];
          const ifUnchanged = { [step.key]: seen[step.key], [step.other]: seen[step.other] };
          const done = await config.set({ [step.key]: step.value }, { ifUnchanged });
          const wanted = [...new Set([step.key, step.other])].filter((key) => changed.has(key));
          if (wanted.length > 0) expect(done).toEqual({ succeeded: false, changed: wanted });
          else {
            expect(done).toMatchObject({ succeeded: true });
            wrote(step.key, step.value);
          }
        } else if (step.kind === "roll back") {
          const found = versions[step.key].find(({ version }) => version === step.version);
          expect((await config.rollback(step.key, step.version))?.succeeded).toBe(found && true);
          if (found) wrote(step.key, found.value);
        } else {
          const at = `config/${name}/values/${step.key}`;
          const before = values[step.key];
          if (step.kind === "delete") await remove(other, at);
          else await put(other, at, step.kind === "spoil" ? "[" : String(step.value));
          if (step.kind === "delete") delete values[step.key];
          else values[step.key] = step.kind === "spoil" ? "bad" : step.value;
          if (step.kind !== "delete" || before !== undefined) changed.add(step.key);
          // What was absent when it was seen, and is absent again, is unchanged.
          if (step.kind === "delete" && seen[step.key] === undefined) changed.delete(step.key);
        }
        const snapshot = await config.read();
        expect(snapshot.values).toEqual({
          a: typeof values.a === "number" ? values.a : -1,
          b: typeof values.b === "number" ? values.b : undefined,
        });
        expect(Object.keys(snapshot.errors)).toEqual((["a", "b"] as const).filter((key) => values[key] === "bad"));
        for (const key of ["a", "b"] as const) {
          const kept = (await config.history(key)).map(({ version, value }) => ({ version, value }));
          expect(kept).toEqual(versions[key]);
        }
      }
    }),
    { numRuns: 150 },
  );
});
