import { callOptions, checkCount, checkName, checkOptions, outOfRange, wrongType } from "../../arguments.ts";
import { byteLength, decode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { decodeJson, encodeJson } from "../../json.ts";
import type { CallOptions, Revision } from "../../ports/kv.ts";
import { abortable } from "../../signals.ts";
import {
  type ConfigDefaults,
  type ConfigInputs,
  type ConfigSchemas,
  type ConfigSnapshot,
  type ConfigValues,
  decodeSetting,
  LastGood,
  validated,
} from "./setting.ts";
import {
  ConfigKeys,
  type Draft,
  decodeVersion,
  mostKeysPerSet,
  type SettingsChanged,
  type SettingsWritten,
  type SettingVersion,
  write,
} from "./setting-versions.ts";
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
export interface SetOptions<S extends ConfigSchemas> extends WaitOptions {
  /**
   * Only if each of these keys was last written at that revision, or is not set where it is undefined: some or all of a
   * snapshot's `revisions`. Keys that are not set here can be among them.
   */
  readonly ifUnchanged?: { readonly [K in keyof S]?: Revision | undefined } | undefined;
}

const defaultHistory = 10;
const mostHistory = 100;
/** Beside those that are set, so many keys can be found unchanged in one commit. */
const mostUnchanged = 50;

/**
 * Settings that many processes share: keys of a few values each, typed and checked by schemas of any maker.
 *
 *   1. who sets them checks each value against its schema, before anything is written;
 *   2. all that are set together, and the versions kept of them, are written by one commit (`setting-versions.ts`);
 *   3. who reads them checks each again: a value that its schema does not allow, written by hand or by another version of
 *      the program, never replaces a good one (`setting.ts`, `settings.ts`).
 *
 * A value is plain JSON at `config/<name>/values/<key>`, for people to read and write; versions of it, which only `set`
 * makes, are below `config/<name>/history/<key>/`. On no lease: settings stay when whoever set them is gone.
 */
export class Config<S extends ConfigSchemas, D extends ConfigDefaults<S> = Record<never, never>> {
  readonly #context: Context;
  readonly #keys: ConfigKeys;
  readonly #schemas: S;
  readonly #defaults: ConfigDefaults<S>;
  readonly #history: number;

  constructor(context: Context, name: Name, schemas: S, options: ConfigOptions<D> = {}) {
    this.#context = context;
    this.#keys = new ConfigKeys(roomyPrefixOf("config", name, context.backend.limits));
    this.#schemas = checkSchemas(schemas);
    checkOptions("config", options, ["defaults", "history"]);
    const { defaults = {}, history = defaultHistory } = options;
    if (typeof defaults !== "object" || defaults === null) throw wrongType("defaults of config", defaults, "an object");
    for (const key of Object.keys(defaults)) this.#checkKey("defaults of config", key);
    // Without a prototype, which has properties that nobody gave as defaults.
    this.#defaults = { __proto__: null, ...defaults };
    checkCount("history of config", history, mostHistory);
    this.#history = history;
    for (const key of Object.keys(schemas)) {
      const bytes = byteLength(this.#keys.version(key, 0));
      const { maxKeyBytes } = context.backend.limits;
      if (bytes > maxKeyBytes)
        throw new RangeError(
          `the key ${key.slice(0, 60)} of schemas of config must make keys of at most ${maxKeyBytes} bytes, not ${bytes}`,
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
    return Settings.open(this.#context, this.#keys.values, this.#lastGood, options);
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
    const { entries, revision } = await this.#context.backend.kv.list(this.#keys.values, options);
    const reading = this.#lastGood.read(new Map(entries.map((entry) => [entry.key, entry])));
    const read = await abortable(reading, options.signal);
    return { ...read, revision, stale: false };
  }

  /**
   * One setting as it is now, in one round trip; its default, or undefined, when nobody set it. No session. Rejects with
   * `CORRUPT` for a value that its schema does not allow, and as `kv.get` does.
   */
  async get<K extends keyof S & string>(key: K, options: CallOptions = {}): Promise<ConfigValues<S, D>[K]> {
    this.#checkKey("key of get", key);
    checkOptions("get", options, callOptions);
    const entry = await this.#context.backend.kv.get(this.#keys.value(key), options);
    if (entry === undefined) return this.#defaults[key] as ConfigValues<S, D>[K];
    const decoding = decodeSetting(key, this.#schemas[key] as StandardSchema, entry);
    return (await abortable(decoding, options.signal)) as ConfigValues<S, D>[K];
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
  set(values: ConfigInputs<S>, options?: WaitOptions & { readonly ifUnchanged?: undefined }): Promise<SettingsWritten>;
  set(values: ConfigInputs<S>, options: SetOptions<S>): Promise<SettingsWritten | SettingsChanged<S>>;
  async set(values: ConfigInputs<S>, options: SetOptions<S> = {}): Promise<SettingsWritten | SettingsChanged<S>> {
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
      const value = decodeJson({ key, value: json });
      const validating = validated(`${key} of set`, key, this.#schemas[key] as StandardSchema, value);
      await abortable(validating, options.signal);
    }
    return this.#write("set", drafts, { ...options, unchanged });
  }

  /** The versions kept of a setting, newest first, in one round trip; no session. Rejects as `kv.list` does. */
  async history(key: keyof S & string, options: CallOptions = {}): Promise<readonly SettingVersion[]> {
    this.#checkKey("key of history", key);
    checkOptions("history", options, callOptions);
    const { entries } = await this.#context.backend.kv.list(this.#keys.versions(key), options);
    const versions = entries.map((entry) => decodeVersion(entry)).filter((version) => version !== undefined);
    return versions.reverse();
  }

  /**
   * Sets what an earlier version was, as the newest version; undefined when that version is not kept. Three round trips.
   * Rejects as `set` does, also for a version that today's schema does not allow.
   */
  async rollback(
    key: keyof S & string,
    version: number,
    options: WaitOptions = {},
  ): Promise<SettingsWritten | undefined> {
    this.#checkKey("key of rollback", key);
    checkCount("version of rollback", version);
    checkOptions("rollback", options, ["signal"]);
    const entry = await this.#context.backend.kv.get(this.#keys.version(key, version), options);
    const found = entry && decodeVersion(entry);
    if (found === undefined) return undefined;
    // Before the schema has it, which may change what it is given.
    const drafts = [{ key, json: decode(encodeJson(key, found.value)) }];
    const schema = this.#schemas[key] as StandardSchema;
    await abortable(validated(`version ${version} of ${key}`, key, schema, found.value), options.signal);
    return (await this.#write("rollback", drafts, options)) as SettingsWritten;
  }

  get #lastGood(): LastGood<S, D> {
    return new LastGood<S, D>(this.#schemas, this.#defaults, {
      keyOf: (key) => this.#keys.value(key),
      warn: (warning) => this.#context.warn(warning),
    });
  }

  #write(
    call: string,
    drafts: readonly Draft[],
    options: WaitOptions & { readonly unchanged?: ReadonlyMap<string, Revision | undefined> },
  ): Promise<SettingsWritten | SettingsChanged<S>> {
    return write(this.#context, this.#keys, { call, drafts, history: this.#history, ...options });
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

function checkSchemas<S extends ConfigSchemas>(schemas: S): S {
  if (typeof schemas !== "object" || schemas === null) throw wrongType("schemas of config", schemas, "an object");
  for (const [key, schema] of Object.entries(schemas)) {
    checkName("a key of schemas of config", key);
    const standard = (schema as Partial<StandardSchema> | null | undefined)?.["~standard"];
    if (standard?.version !== 1 || typeof standard.validate !== "function")
      throw wrongType(`${key} of schemas of config`, schema, "a schema that keeps Standard Schema, version 1");
  }
  return { ...schemas };
}
