import { encode } from "../../bytes.ts";
import { type Context, segment, type WaitOptions } from "../../context.ts";
import { decodeJson, type Json } from "../../json.ts";
import type { Condition, Delete, Entry, Listing, Put, Revision } from "../../ports/kv.ts";
import type { ConfigSchemas } from "./setting.ts";

/** That values were set. */
export interface SettingsWritten {
  readonly succeeded: true;
  /** At which revision; all keys of one `set` have the same. */
  readonly revision: Revision;
}

/** That nothing was set, since a key was not as `ifUnchanged` says. */
export interface SettingsChanged<S extends ConfigSchemas> {
  readonly succeeded: false;
  /** Which keys were not. */
  readonly changed: readonly (keyof S & string)[];
}

/** A version of a setting. */
export interface SettingVersion {
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

/** Each has a value and a version to put, and at least two old versions to delete, in what a receipt leaves of 100. */
export const mostKeysPerSet = 24;
const operationsPerSet = 99;
/** What of a transaction's bytes is left to its keys. */
const bytesForKeys = 64 * 1024;

/** Where a configuration keeps what. */
export class ConfigKeys {
  /** All values are below it. */
  readonly values: string;
  readonly #history: string;

  constructor(prefix: string) {
    this.values = `${prefix}values/`;
    this.#history = `${prefix}history/`;
  }

  value(key: string): string {
    return this.values + segment(key);
  }

  /** All versions of a setting are below it, in order. */
  versions(key: string): string {
    return `${this.#history + segment(key)}/`;
  }

  version(key: string, version: number): string {
    return this.versions(key) + String(version).padStart(16, "0");
  }
}

/** A value to be set, as JSON that its schema allows. */
export interface Draft {
  readonly key: string;
  readonly json: string;
}

/** What there is of a key. */
interface Kept {
  readonly modified: Revision | undefined;
  /** Which versions, oldest first. */
  readonly versions: readonly number[];
}

/**
 * Sets values, and keeps the last versions of them:
 *
 *   1. look, in one round trip: at when the keys were last written, and at which versions are kept;
 *   2. when one of `unchanged` was written since, say so, and write nothing;
 *   3. in one commit, if nothing of that was written meanwhile: put the values, put the next version of each, and delete
 *      the versions that are then too many;
 *   4. otherwise go to 1.
 *
 * Commits are sent through `receipts.ts`, so an answer that was lost sets nothing twice.
 */
export async function write<S extends ConfigSchemas>(
  context: Context,
  keys: ConfigKeys,
  what: WaitOptions & {
    readonly call: string;
    readonly drafts: readonly Draft[];
    readonly history: number;
    readonly unchanged?: ReadonlyMap<string, Revision | undefined> | undefined;
  },
): Promise<SettingsWritten | SettingsChanged<S>> {
  const { drafts, history, unchanged = new Map<string, undefined>(), signal } = what;
  const writes = encodeDrafts(context, what.call, drafts);
  for (;;) {
    const kept = await look(context, keys, drafts, [...unchanged.keys()], { signal });
    const changed = [...unchanged].flatMap(([key, modified]) => (kept.get(key)?.modified === modified ? [] : [key]));
    if (changed.length > 0) return { succeeded: false, changed };
    const conditions = [...kept].map(([key, { modified }]) => unchangedSince(keys.value(key), modified));
    const puts: Put[] = [];
    const deletes: Delete[] = [];
    for (const { key, value, version } of writes) {
      const versions = kept.get(key)?.versions ?? [];
      const next = keys.version(key, (versions.at(-1) ?? 0) + 1);
      conditions.push({ key: next, exists: false });
      puts.push({ put: keys.value(key), value }, { put: next, value: version });
      const tooMany = Math.max(0, versions.length + 1 - history);
      const most = Math.floor(operationsPerSet / writes.length) - 2;
      deletes.push(...versions.slice(0, Math.min(tooMany, most)).map((old) => ({ delete: keys.version(key, old) })));
    }
    const once = await context.receipts.commit({ if: conditions, then: [...puts, ...deletes] }, { signal });
    if (once.applied) return { succeeded: true, revision: once.revision };
  }
}

/** The version that an entry is; undefined for what cannot have been written as one. */
export function decodeVersion(entry: Entry): SettingVersion | undefined {
  const version = numberOf(entry);
  try {
    const { value, at, by } = decodeJson(entry) as { [name: string]: Json };
    if (version === undefined || value === undefined || typeof at !== "number" || typeof by !== "string") return;
    return { version, value, revision: entry.modified, atMs: at, by };
  } catch {
    return undefined;
  }
}

function encodeDrafts({ backend, owner }: Context, call: string, drafts: readonly Draft[]) {
  const atMs = backend.clock.wallMs();
  const writes = drafts.map(({ key, json }) => {
    const version = encode(`{"value":${json},"at":${atMs},"by":${JSON.stringify(owner)}}`);
    return { key, value: encode(json), version };
  });
  // Each is stored twice: as the value, and as its newest version.
  const bytes = Math.ceil(writes.reduce((sum, { value, version }) => sum + value.length + version.length, 0) / 2);
  const mostBytes = (backend.limits.maxTxnBytes - bytesForKeys) / 2;
  if (bytes > mostBytes) throw new RangeError(`${call} must be given at most ${mostBytes} bytes of JSON, not ${bytes}`);
  return writes;
}

async function look(
  { backend }: Context,
  keys: ConfigKeys,
  drafts: readonly Draft[],
  also: readonly string[],
  options: WaitOptions,
): Promise<ReadonlyMap<string, Kept>> {
  const all = [...new Set([...drafts.map(({ key }) => key), ...also])];
  const values = all.map((key) => ({ get: keys.value(key) }));
  const lists = drafts.map(({ key }) => ({ list: keys.versions(key), keysOnly: true }) as const);
  const commit = await backend.kv.commit({ then: [...values, ...lists] }, options);
  const results = commit.results as readonly unknown[];
  return new Map(
    all.map((key, index) => {
      const entry = results[index] as Entry | undefined;
      const listing = results[all.length + index] as Listing | undefined;
      const versions = (listing?.entries ?? []).flatMap((entry) => numberOf(entry) ?? []);
      return [key, { modified: entry?.modified, versions }];
    }),
  );
}

function unchangedSince(key: string, modified: Revision | undefined): Condition {
  return modified === undefined ? { key, exists: false } : { key, modified };
}

function numberOf({ key }: Entry): number | undefined {
  const digits = key.slice(key.lastIndexOf("/") + 1);
  return /^\d{16}$/.test(digits) ? Number(digits) : undefined;
}
