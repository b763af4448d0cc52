import { callOptions, checkName, checkOptions, outOfRange, wrongType } from "../arguments.ts";
import { byteLength, decode, encode } from "../bytes.ts";
import { type Context, type Name, roomyPrefixOf, segment, type WaitOptions } from "../context.ts";
import { decodeJson, encodeJson, type Json } from "../json.ts";
import type { CallOptions, Condition, Delete, Entry, Listing, Put, Revision } from "../ports/kv.ts";
import {
  type ConfigSnapshot,
  type Defaults,
  decodeSetting,
  type Inputs,
  LastGood,
  type Schemas,
  type Values,
  validated,
} from "./setting.ts";
import { Settings } from "./settings.ts";
import type { StandardSchema } from "./standard-schema.ts";

/** How a configuration is kept and read. */
export interface ConfigOptions<D> {
  /** What holds for keys that nobody set. They are taken as they are. */
  readonly defaults?: D | undefined;
  /** How many versions of each key are kept, from 1 to 100; 10 by default. */
  readonly history?: number | undefined;
}

/** How to set. */
export interface SetOptions<S extends Schemas> extends WaitOptions {
  /**
   * Only if each of these keys was last written at that revision, or is not set where it is undefined: some or all of a
   * snapshot's `revisions`. Keys that are not set here can be among them.
   */
  readonly ifUnchanged?: { readonly [K in keyof S]?: Revision | undefined } | undefined;
}

/** That values were set. */
export interface Written {
  readonly succeeded: true;
  /** At which revision; all keys of one `set` have the same. */
  readonly revision: Revision;
}

/** That nothing was set, since a key was not as `ifUnchanged` says. */
export interface Changed<S extends Schemas> {
  readonly succeeded: false;
  /** Which keys were not. */
  readonly changed: readonly (keyof S & string)[];
}

/** A version of a setting. */
export interface Version {
  /** Counted from 1 for each key. */
  readonly version: number;
  /** As it was set, before its schema made something of it. */
  readonly value: Json;
  /** When it was set. */
  readonly revision: Revision;
  /** When it was set, in milliseconds since the epoch by the clock of who did. */
  readonly atMs: number;
  /** Who did: the `owner` it connected with. */
  readonly by: string;
}

const defaultHistory = 10;
const mostHistory = 100;
/** Each has a value and a version to put and to find unchanged, and two old versions to delete, in 99 operations. */
const mostKeysPerSet = 24;
const mostUnchanged = 50;
const versionDigits = 16;
/** What of a transaction's bytes is left to its keys. */
const bytesForKeys = 64 * 1024;

/** A value to be set, as JSON. */
interface Draft {
  readonly key: string;
  readonly json: string;
}

/** What is there of a key that is to be set. */
interface Kept {
  readonly modified: Revision | undefined;
  readonly versions: readonly number[];
}

/**
 * Settings that many processes share: keys of a few values each, typed and checked by schemas of any maker.
 *
 * Setting them:
 *
 *   1. check each value against its schema, before anything is written;
 *   2. look, in one round trip: at what is set, and at which versions are kept;
 *   3. when a key of `ifUnchanged` was written since, say so, and write nothing;
 *   4. in one commit, if what was looked at is unchanged, put the values, put a version of each, and delete those that are
 *      then too many; otherwise go to 2.
 *
 * Reading them, in `setting.ts`: a value that its schema does not allow, written by hand or by another version of the
 * program, never replaces a good one.
 *
 * A value is plain JSON at `config/<name>/values/<key>`, for people to read and write; versions of it, which only `set`
 * makes, are below `config/<name>/history/<key>/`. On no lease: settings stay when whoever set them is gone.
 */
export class Config<S extends Schemas, D extends Defaults<S> = Record<never, never>> {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #schemas: S;
  readonly #defaults: Defaults<S>;
  readonly #history: number;

  constructor(context: Context, name: Name, schemas: S, options: ConfigOptions<D> = {}) {
    this.#context = context;
    this.#prefix = roomyPrefixOf("config", name, context.backend.limits);
    this.#schemas = checkSchemas(schemas);
    checkOptions("config", options, ["defaults", "history"]);
    const { defaults = {}, history = defaultHistory } = options;
    if (typeof defaults !== "object" || defaults === null) throw wrongType("defaults of config", defaults, "an object");
    for (const key of Object.keys(defaults)) this.#checkKey("defaults of config", key);
    this.#defaults = defaults;
    if (typeof history !== "number") throw wrongType("history of config", history, "a number");
    if (!(Number.isInteger(history) && history >= 1 && history <= mostHistory))
      throw outOfRange("history of config", history, `a whole number from 1 to ${mostHistory}`);
    this.#history = history;
    for (const key of Object.keys(schemas)) {
      const bytes = byteLength(this.#historyKey(key, 0));
      const { maxKeyBytes } = context.backend.limits;
      if (bytes > maxKeyBytes)
        throw new RangeError(
          `the key ${segment(key).slice(0, 60)} of config must make keys of at most ${maxKeyBytes} bytes, not ${bytes}`,
        );
    }
  }

  /**
   * A live view, current when it resolves; dispose it when done. `signal` ends it. Needs no session. Keys that nobody set
   * have their default, or are undefined; bad data is told in `snapshot.errors` and to `onWarning`, and rejects nothing.
   *
   * Rejects with `UNAVAILABLE` when the store does not answer, with `signal.reason`, `CLOSED`, or `DENIED` as the store
   * says. After that an outage makes it stale, and does not end it.
   */
  async open(options: WaitOptions = {}): Promise<Settings<S, D>> {
    checkOptions("open", options, ["signal"]);
    return Settings.open(this.#context, this.#values, this.#lastGood, options);
  }

  /** The snapshot, and again whenever it changes or becomes stale; leaving the loop ends it. Rejects as `open` does. */
  async *watch(options: WaitOptions = {}): AsyncGenerator<ConfigSnapshot<S, D>, void, undefined> {
    checkOptions("watch", options, ["signal"]);
    await using settings = await this.open(options);
    yield* settings;
  }

  /** All of it as it is now, in one round trip; no session. Rejects as `kv.list` does. */
  async read(options: CallOptions = {}): Promise<ConfigSnapshot<S, D>> {
    checkOptions("read", options, callOptions);
    const { entries, revision } = await this.#context.backend.kv.list(this.#values, options);
    const read = await this.#lastGood.read(new Map(entries.map((entry) => [entry.key, entry])));
    return { ...read, revision, stale: false };
  }

  /**
   * One setting as it is now, in one round trip; its default, or undefined, when nobody set it. No session. Rejects with
   * `CORRUPT` for a value that its schema does not allow, and as `kv.get` does.
   */
  async get<K extends keyof S & string>(key: K, options: CallOptions = {}): Promise<Values<S, D>[K]> {
    this.#checkKey("key of get", key);
    checkOptions("get", options, callOptions);
    const entry = await this.#context.backend.kv.get(this.#valueKey(key), options);
    const value = entry ? await decodeSetting(key, this.#schemas[key] as StandardSchema, entry) : this.#defaults[key];
    return value as Values<S, D>[K];
  }

  /**
   * Sets one or more keys, in one commit: all or none, and once, even if answers are lost. Two round trips, and as many
   * again whenever others set the same keys meanwhile. At most 24 keys, and about 224 KiB of JSON.
   *
   * With `ifUnchanged`, that a key was written since is no error: it is `succeeded: false`. Rejects with
   * `InvalidSettingError` for a value that its schema does not allow, `TypeError` or `RangeError` for what cannot be
   * stored, with `UNAVAILABLE` when the store does not answer and nothing was set, with `OUTCOME_UNKNOWN` when the session
   * ended before it was known, with `signal.reason`, after which it may have been set, and with `LEASE_LOST`, `CLOSED`,
   * `LIMIT` or `DENIED`.
   */
  set(values: Inputs<S>, options?: WaitOptions & { readonly ifUnchanged?: undefined }): Promise<Written>;
  set(values: Inputs<S>, options: SetOptions<S>): Promise<Written | Changed<S>>;
  async set(values: Inputs<S>, options: SetOptions<S> = {}): Promise<Written | Changed<S>> {
    if (typeof values !== "object" || values === null) throw wrongType("values of set", values, "an object");
    checkOptions("set", options, ["ifUnchanged", "signal"]);
    const keys = Object.keys(values);
    if (keys.length < 1 || keys.length > mostKeysPerSet)
      throw new RangeError(`set must be given from 1 to ${mostKeysPerSet} keys, not ${keys.length}`);
    const unchanged = this.#checkUnchanged(options.ifUnchanged);
    const drafts: Draft[] = [];
    for (const key of keys) {
      this.#checkKey("values of set", key);
      const json = encodeJson(`${key} of set`, values[key]);
      drafts.push({ key, json: decode(json) });
      await validated(`${key} of set`, key, this.#schemas[key] as StandardSchema, decodeJson({ key, value: json }));
    }
    return this.#write("set", drafts, unchanged, options);
  }

  /** The versions kept of a setting, newest first, in one round trip; no session. Rejects as `kv.list` does. */
  async history(key: keyof S & string, options: CallOptions = {}): Promise<readonly Version[]> {
    this.#checkKey("key of history", key);
    checkOptions("history", options, callOptions);
    const { entries } = await this.#context.backend.kv.list(this.#historyPrefix(key), options);
    const versions = entries.map((entry) => decodeVersion(entry)).filter((version) => version !== undefined);
    return versions.reverse();
  }

  /**
   * Sets what an earlier version was, as the newest version; undefined when that version is not kept. Three round trips.
   * Rejects as `set` does, also for a version that today's schema does not allow.
   */
  async rollback(key: keyof S & string, version: number, options: WaitOptions = {}): Promise<Written | undefined> {
    this.#checkKey("key of rollback", key);
    if (typeof version !== "number") throw wrongType("version of rollback", version, "a number");
    if (!(Number.isSafeInteger(version) && version >= 1))
      throw outOfRange("version of rollback", version, "a whole number of 1 or more");
    checkOptions("rollback", options, ["signal"]);
    const entry = await this.#context.backend.kv.get(this.#historyKey(key, version), options);
    const found = entry && decodeVersion(entry);
    if (found === undefined) return undefined;
    await validated(`version ${version} of ${key}`, key, this.#schemas[key] as StandardSchema, found.value);
    const drafts = [{ key, json: decode(encodeJson(key, found.value)) }];
    return (await this.#write("rollback", drafts, new Map(), options)) as Written;
  }

  get #values(): string {
    return `${this.#prefix}values/`;
  }

  get #lastGood(): LastGood<S, D> {
    return new LastGood<S, D>(this.#schemas, this.#defaults, {
      keyOf: (key) => this.#valueKey(key),
      warn: (warning) => this.#context.warn(warning),
    });
  }

  #valueKey(key: string): string {
    return this.#values + segment(key);
  }

  #historyPrefix(key: string): string {
    return `${this.#prefix}history/${segment(key)}/`;
  }

  #historyKey(key: string, version: number): string {
    return this.#historyPrefix(key) + String(version).padStart(versionDigits, "0");
  }

  async #write(
    call: string,
    drafts: readonly Draft[],
    unchanged: ReadonlyMap<string, Revision | undefined>,
    { signal }: WaitOptions,
  ): Promise<Written | Changed<S>> {
    const { backend, receipts, owner } = this.#context;
    const atMs = backend.clock.wallMs();
    const writes = drafts.map(({ key, json }) => {
      const version = encode(`{"value":${json},"at":${atMs},"by":${JSON.stringify(owner)}}`);
      return { key, value: encode(json), version };
    });
    const bytes = writes.reduce((sum, { value, version }) => sum + value.length + version.length, 0);
    const mostBytes = backend.limits.maxTxnBytes - bytesForKeys;
    if (bytes > mostBytes) {
      throw new RangeError(
        `${call} must be given at most ${mostBytes / 2} bytes of JSON, not about ${Math.ceil(bytes / 2)}`,
      );
    }
    for (;;) {
      const kept = await this.#look(drafts, [...unchanged.keys()], { signal });
      const changed = [...unchanged].flatMap(([key, modified]) => (kept.get(key)?.modified === modified ? [] : [key]));
      if (changed.length > 0) return { succeeded: false, changed };
      const conditions = [...kept].map(([key, { modified }]) => unchangedOf(this.#valueKey(key), modified));
      const puts: Put[] = [];
      const deletes: Delete[] = [];
      const mostDeletes = Math.floor((99 - 2 * writes.length) / writes.length);
      for (const { key, value, version } of writes) {
        const versions = kept.get(key)?.versions ?? [];
        const next = this.#historyKey(key, (versions.at(-1) ?? 0) + 1);
        conditions.push({ key: next, exists: false });
        puts.push({ put: this.#valueKey(key), value }, { put: next, value: version });
        const tooMany = versions.slice(0, Math.max(0, versions.length + 1 - this.#history));
        deletes.push(...tooMany.slice(0, mostDeletes).map((old) => ({ delete: this.#historyKey(key, old) })));
      }
      const once = await receipts.commit({ if: conditions, then: [...puts, ...deletes] }, { signal });
      if (once.applied) return { succeeded: true, revision: once.revision };
    }
  }

  /** What is there of keys to be set, and of keys that are only not to have changed. */
  async #look(drafts: readonly Draft[], also: readonly string[], options: WaitOptions): Promise<Map<string, Kept>> {
    const keys = [...new Set([...drafts.map(({ key }) => key), ...also])];
    const values = keys.map((key) => ({ get: this.#valueKey(key) }));
    const lists = drafts.map(({ key }) => ({ list: this.#historyPrefix(key), keysOnly: true }) as const);
    const commit = await this.#context.backend.kv.commit({ then: [...values, ...lists] }, options);
    const results = commit.results as readonly unknown[];
    return new Map(
      keys.map((key, index) => {
        const entry = results[index] as Entry | undefined;
        const listing = results[keys.length + index] as Listing | undefined;
        const versions = (listing?.entries ?? []).flatMap((kept) => versionOf(kept) ?? []);
        return [key, { modified: entry?.modified, versions }];
      }),
    );
  }

  #checkKey(argument: string, key: unknown): void {
    if (typeof key !== "string") throw wrongType(argument, key, "one of the configuration's keys");
    if (!Object.hasOwn(this.#schemas, key))
      throw outOfRange(argument, key, `one of the configuration's keys: ${Object.keys(this.#schemas).join(", ")}`);
  }

  #checkUnchanged(unchanged: unknown): ReadonlyMap<string, Revision | undefined> {
    if (unchanged === undefined) return new Map();
    if (typeof unchanged !== "object" || unchanged === null)
      throw wrongType("ifUnchanged of set", unchanged, "an object of revisions");
    const entries = Object.entries(unchanged);
    if (entries.length > mostUnchanged)
      throw new RangeError(`ifUnchanged of set must have at most ${mostUnchanged} keys, not ${entries.length}`);
    for (const [key, revision] of entries) {
      this.#checkKey("ifUnchanged of set", key);
      if (revision !== undefined && typeof revision !== "bigint")
        throw wrongType(`${key} of ifUnchanged of set`, revision, "a revision, which is a bigint, or undefined");
    }
    return new Map(entries);
  }
}

function checkSchemas<S extends Schemas>(schemas: S): S {
  if (typeof schemas !== "object" || schemas === null) throw wrongType("schemas of config", schemas, "an object");
  for (const [key, schema] of Object.entries(schemas)) {
    checkName("a key of schemas of config", key);
    const standard = (schema as Partial<StandardSchema> | null | undefined)?.["~standard"];
    if (standard?.version !== 1 || typeof standard.validate !== "function")
      throw wrongType(`${key} of schemas of config`, schema, "a schema that keeps Standard Schema, version 1");
  }
  return { ...schemas };
}

function unchangedOf(key: string, modified: Revision | undefined): Condition {
  return modified === undefined ? { key, exists: false } : { key, modified };
}

function versionOf({ key }: Pick<Entry, "key">): number | undefined {
  const digits = key.slice(key.lastIndexOf("/") + 1);
  return /^\d{16}$/.test(digits) ? Number(digits) : undefined;
}

function decodeVersion(entry: Entry): Version | undefined {
  const version = versionOf(entry);
  try {
    const { value, at, by } = decodeJson(entry) as { [name: string]: Json };
    if (version === undefined || value === undefined || typeof at !== "number" || typeof by !== "string") return;
    return { version, value, revision: entry.modified, atMs: at, by };
  } catch {
    // Not what was written here: no version.
    return undefined;
  }
}
