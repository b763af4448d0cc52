import { CoordinationError, inWords } from "../../errors.ts";
import { decodeJson } from "../../json.ts";
import type { Entry, Revision } from "../../ports/kv.ts";
import {
  type InputOf,
  InvalidSettingError,
  type OutputOf,
  type SchemaIssue,
  type StandardSchema,
} from "./standard-schema.ts";

/** What a configuration consists of: its keys, and of each the schema of its value. */
export type ConfigSchemas = { readonly [key: string]: StandardSchema };

/** What holds for keys that nobody set: values as a schema makes them. */
export type ConfigDefaults<S extends ConfigSchemas> = { readonly [K in keyof S]?: OutputOf<S[K]> };

/** What can be set: values as a schema accepts them. */
export type ConfigInputs<S extends ConfigSchemas> = { readonly [K in keyof S]?: InputOf<S[K]> };

/** What is set, as its schema makes it; the default where nothing is, and undefined where there is none. */
export type ConfigValues<S extends ConfigSchemas, D> = {
  readonly [K in keyof S]: K extends keyof D
    ? undefined extends D[K]
      ? OutputOf<S[K]> | undefined
      : OutputOf<S[K]>
    : OutputOf<S[K]> | undefined;
};

/** When each key was last written; undefined for what nobody set. */
export type ConfigRevisions<S extends ConfigSchemas> = { readonly [K in keyof S]: Revision | undefined };

/** A configuration as it was at one time. */
export interface ConfigSnapshot<S extends ConfigSchemas, D> {
  /** Of each key the newest value that its schema allows; its default before there is one. */
  readonly values: ConfigValues<S, D>;
  /** When each key was last written, be it bad data: what `ifUnchanged` of `set` takes. */
  readonly revisions: ConfigRevisions<S>;
  /** At least all that was committed up to this revision is shown. */
  readonly revision: Revision;
  /**
   * The store does not answer, which is noticed within about eight seconds, or the view has ended: these are the last
   * values that were known.
   */
  readonly stale: boolean;
  /** Of each key whose value in the store is not what it should be, why: `CORRUPT`. */
  readonly errors: { readonly [K in keyof S]?: CoordinationError };
}

/** What a key was found to hold. */
interface Found {
  readonly modified: Revision | undefined;
  readonly error: CoordinationError | undefined;
  /** The last value that was good, if there was one since somebody set it. */
  readonly good: { readonly value: unknown } | undefined;
}

/** What a schema makes of a value. Throws `InvalidSettingError`, called by the name of what was given. */
export async function validated(what: string, key: string, schema: StandardSchema, value: unknown): Promise<unknown> {
  let issues: readonly SchemaIssue[];
  try {
    const validation = await schema["~standard"].validate(value);
    if (validation.issues === undefined) return validation.value;
    issues = [...validation.issues];
  } catch (error) {
    // A schema that fails has not said that the value is good.
    issues = [{ message: inWords(error) }];
  }
  throw new InvalidSettingError(what, key, issues);
}

/** The value of a setting as it is stored, as its schema makes it. Throws `CORRUPT` for what it does not allow. */
export async function decodeSetting(key: string, schema: StandardSchema, entry: Entry): Promise<unknown> {
  const stored = decodeJson(entry);
  try {
    return await validated(`the value of the key ${entry.key}`, key, schema, stored);
  } catch (error) {
    throw new CoordinationError("CORRUPT", (error as Error).message, { cause: error });
  }
}

/**
 * The values of a configuration as they come, of which a bad one never replaces a good one:
 *
 *   1. a key that is absent has its default;
 *   2. one whose value is JSON and what its schema allows has that value;
 *   3. any other keeps the value it had, with an error beside it, of which `warn` is told once for each bad revision.
 *
 * What was not written since it was last read is not validated again.
 */
export class LastGood<S extends ConfigSchemas, D> {
  readonly #schemas: S;
  readonly #defaults: ConfigDefaults<S>;
  readonly #keyOf: (key: string) => string;
  readonly #warn: (warning: string) => void;
  #found = new Map<string, Found>();
  #snapshot: Omit<ConfigSnapshot<S, D>, "revision" | "stale"> | undefined;

  constructor(
    schemas: S,
    defaults: ConfigDefaults<S>,
    { keyOf, warn }: { keyOf: (key: string) => string; warn: (warning: string) => void },
  ) {
    this.#schemas = schemas;
    this.#defaults = defaults;
    this.#keyOf = keyOf;
    this.#warn = warn;
  }

  /** What these entries come to; the same object when that is what there was before. */
  async read(entries: ReadonlyMap<string, Entry>): Promise<Omit<ConfigSnapshot<S, D>, "revision" | "stale">> {
    const keys = Object.keys(this.#schemas);
    const all = await Promise.all(keys.map((key) => this.#find(key, entries.get(this.#keyOf(key)))));
    const found = new Map(keys.map((key, index) => [key, all[index] as Found]));
    const isNew = keys.some((key) => found.get(key) !== this.#found.get(key));
    this.#found = found;
    if (isNew || this.#snapshot === undefined) this.#snapshot = this.#show(found);
    return this.#snapshot;
  }

  async #find(key: string, entry: Entry | undefined): Promise<Found> {
    const before = this.#found.get(key);
    if (before && before.modified === entry?.modified) return before;
    if (entry === undefined) return { modified: undefined, error: undefined, good: undefined };
    const { modified } = entry;
    try {
      const value = await decodeSetting(key, this.#schemas[key] as StandardSchema, entry);
      return { modified, error: undefined, good: { value } };
    } catch (error) {
      this.#warn(`${(error as Error).message}; written at revision ${modified}, it is passed over`);
      return { modified, error: error as CoordinationError, good: before?.good };
    }
  }

  #show(found: ReadonlyMap<string, Found>): Omit<ConfigSnapshot<S, D>, "revision" | "stale"> {
    const of = <T>(show: (key: string, found: Found) => T) =>
      Object.fromEntries([...found].map(([key, one]) => [key, show(key, one)]));
    const errors = [...found].flatMap(([key, { error }]) => (error ? [[key, error]] : []));
    return {
      values: of((key, { good }) => (good ? good.value : this.#defaults[key])) as ConfigValues<S, D>,
      revisions: of((_, { modified }) => modified) as ConfigRevisions<S>,
      errors: Object.fromEntries(errors),
    };
  }
}
