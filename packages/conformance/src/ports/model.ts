import {
  type Backend,
  type Condition,
  type Entry,
  encode,
  type Operation,
  type Selection,
  scoped,
} from "@conclave/core/backend";
import * as fc from "fast-check";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { faultSeeds } from "../seeds.ts";

/** The contract in its simplest form: a map of entries. */
class Model {
  readonly entries = new Map<string, Entry>();

  list(prefix: string, { order = "key", limit = Number.POSITIVE_INFINITY, startAfter = "" }: Selection): Entry[] {
    const direction = order === "key" ? 0 : order === "oldest" ? 1 : -1;
    return [...this.entries.values()]
      .filter(({ key }) => key.startsWith(prefix) && byBytes(key, startAfter) > 0)
      .sort((a, b) => Number(a.created - b.created) * direction || byBytes(a.key, b.key))
      .slice(0, limit);
  }

  write(writes: Writes, revision: bigint): void {
    for (const [key, value] of writes) {
      const created = this.entries.get(key)?.created ?? revision;
      if (value) this.entries.set(key, { key, value, created, modified: revision, lease: undefined });
      else this.entries.delete(key);
    }
  }

  holds(condition: Condition): boolean {
    if ("prefix" in condition) {
      const newest = "empty" in condition ? -1n : condition.noneModifiedAfter;
      return this.list(condition.prefix, {}).every(({ modified }) => modified <= newest);
    }
    const entry = this.entries.get(condition.key);
    if ("exists" in condition) return (entry !== undefined) === condition.exists;
    return "created" in condition ? entry?.created === condition.created : entry?.modified === condition.modified;
  }
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Values by key; nothing where the key is deleted. */
type Writes = ReadonlyMap<string, Uint8Array | undefined>;

/** What a condition asks, before it is known what the store holds. */
interface Guess {
  readonly about: "exists" | "created" | "modified" | "empty" | "newest";
  readonly name: string;
  readonly right: boolean;
}

type Command =
  | { readonly kind: "commit"; readonly writes: Writes; readonly guesses: readonly Guess[] }
  | { readonly kind: "list"; readonly prefix: string; readonly selection: Selection; readonly inCommit: boolean };

/** Names that are neighbours in every sense: prefixes of each other, the same but for a slash, beyond the basic plane. */
const name: fc.Arbitrary<string> = fc.constantFrom("a", "a/", "a/b", "a/b/c", "ab", "b", "\uffff", "\u{10000}");
const prefix: fc.Arbitrary<string> = fc.constantFrom("", "a", "a/", "b", "\u{10000}", "none");
const value = fc.option(fc.constantFrom("", "x", "yy").map(encode), { nil: undefined });
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({
    kind: fc.constant("commit" as const),
    writes: fc.array(fc.tuple(name, value), { maxLength: 4 }).map((pairs): Writes => new Map(pairs)),
    guesses: fc.array(
      fc.record({
        about: fc.constantFrom(
          "exists" as const,
          "created" as const,
          "modified" as const,
          "empty" as const,
          "newest" as const,
        ),
        name: fc.oneof(
          name,
          prefix.filter((each) => each !== ""),
        ),
        right: fc.boolean(),
      }),
      { maxLength: 2 },
    ),
  }),
  fc.record({
    kind: fc.constant("list" as const),
    prefix,
    selection: fc.oneof(
      fc.record({ startAfter: fc.option(name, { nil: undefined }), limit: fc.integer({ min: 1, max: 4 }) }),
      fc.record({ order: fc.constantFrom("key" as const, "oldest" as const, "newest" as const) }),
    ),
    inCommit: fc.boolean(),
  }),
);

/** A condition of that kind. A revision is guessed right, or next to right; of an absent key none is right. */
function conditionOf({ about, name, right }: Guess, model: Model): Condition {
  if (about === "empty") return { prefix: name, empty: true };
  if (about === "newest") {
    let newest = 0n;
    for (const { modified } of model.list(name, {})) if (modified > newest) newest = modified;
    return { prefix: name, noneModifiedAfter: newest - (right ? 0n : 1n) };
  }
  if (about === "exists") return { key: name, exists: right };
  const entry = model.entries.get(name);
  const revision = entry ? entry[about] + (right ? 0n : 1n) : 1n;
  return about === "created" ? { key: name, created: revision } : { key: name, modified: revision };
}

async function run(command: Command, { kv }: Backend, model: Model): Promise<void> {
  if (command.kind === "list") {
    const { prefix, selection, inCommit } = command;
    const listing = inCommit
      ? (await kv.commit({ then: [{ list: prefix, ...selection }] })).results[0]
      : await kv.list(prefix, selection);
    const whole = model.list(prefix, { ...selection, limit: undefined });
    expect(listing).toMatchObject({
      entries: model.list(prefix, selection),
      more: whole.length > (selection.limit ?? 99),
    });
    return;
  }
  const { writes, guesses } = command;
  const conditions = guesses.map((guess) => conditionOf(guess, model));
  const succeeds = conditions.every((condition) => model.holds(condition));
  const then: Operation[] = [...writes].map(([key, value]) => (value ? { put: key, value } : { delete: key }));
  const results = [...writes].map(([key, value]) => (value ? undefined : model.entries.has(key)));
  const commit = await kv.commit({ if: conditions, then });
  expect(commit).toMatchObject({ succeeded: succeeds, results: succeeds ? results : [] });
  if (succeeds) model.write(writes, commit.revision);
}

/** Random sequences of calls against the contract in its simplest form. */
export function model(suite: Suite): void {
  suite.it("answers every sequence of commits and lists as the model does", async (backend) => {
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 4, maxLength: 25, size: "max" }), async (commands) => {
        const corner = scoped(backend, `${++runs}/`);
        const model = new Model();
        for (const command of commands) await run(command, corner, model);
        expect((await corner.kv.list("")).entries).toEqual(model.list("", {}));
      }),
      { numRuns: faultSeeds(80).length, seed: 1 },
    );
  });
}
