import type { Context, WaitOptions } from "./context.ts";
import { CoordinationError } from "./errors.ts";
import type { Condition, Entry, Read, ResultsOf, Revision } from "./ports/kv.ts";
import type { Session } from "./session.ts";
import { settle } from "./settle.ts";
import { abortable, linkSignals } from "./signals.ts";

/** Own keys, on the session's lease, that one commit created. */
export interface Place {
  readonly session: Session;
  readonly keys: readonly string[];
  readonly created: Revision;
  /** Their put was sent more than once: what was sent first may arrive last, and make the keys anew after their delete. */
  readonly resent: boolean;
}

/** Runs an attempt on own keys named for it alone, one below each prefix, and leaves none behind when it fails. */
export async function inPlace<T>(
  context: Context,
  prefixes: readonly string[],
  { signal }: WaitOptions,
  attempt: (session: Session, keys: readonly string[], signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const session = await context.sessions.current({ signal });
  const name = session.nextName();
  const keys = prefixes.map((prefix) => prefix + name);
  using linked = linkSignals(signal, session.signal);
  try {
    // A sent write need not settle first when the session ends: whatever becomes of the keys goes with its lease.
    return await abortable(attempt(session, keys, linked.signal), session.signal);
  } catch (error) {
    if (session.isAlive()) void session.discard(keys);
    throw error;
  }
}

/**
 * Creates own keys that were named before, and reads in the same commit; an unknown outcome is resolved by looking for the
 * keys. The commit also gives back the place `instead` of which this one is taken; when it fails, that goes as well.
 * Rejects with `LEASE_LOST` when a key that was created is gone again.
 */
export async function takePlace<const Reads extends readonly Read[]>(
  context: Context,
  { session, keys }: Pick<Place, "session" | "keys">,
  value: Uint8Array,
  reads: Reads,
  signal: AbortSignal,
  instead?: Place,
): Promise<{ readonly place: Place; readonly results: ResultsOf<Reads> }> {
  const { kv, clock } = context.backend;
  const puts = keys.map((key) => ({ put: key, value, lease: session.lease }));
  const absent = keys.map((key) => ({ key, exists: false }));
  const own = keys.map((key) => ({ get: key }));
  const { keys: old = [], created: since } = { ...instead };
  const deletes = old.map((key) => ({ delete: key }));
  const stillThere = old.map((key) => ({ key, created: since as Revision }));
  let sendings = 0;
  const commit = await settle(clock, signal, () => {
    sendings += 1;
    return kv.commit(
      {
        if: [...absent, ...stillThere],
        then: [...puts, ...deletes, ...own, ...reads],
        // Our keys were there already: an earlier sending of this commit was applied. Or what was to go was gone.
        else: [...own, ...reads],
      },
      { signal },
    );
  }).catch((error: unknown) => {
    if (instead) void leave(instead);
    throw error;
  });
  const written = commit.succeeded ? puts.length + deletes.length : 0;
  const results = (commit.results as readonly unknown[]).slice(written);
  const entries = results.slice(0, keys.length) as readonly (Entry | undefined)[];
  if (instead?.resent) void leave(instead);
  if (instead && !entries[0]) return takePlace(context, { session, keys }, value, reads, signal);
  const created = createdOf(keys, entries);
  const place = { session, keys, created, resent: sendings > 1 };
  return { place, results: results.slice(keys.length) as unknown as ResultsOf<Reads> };
}

/** As `takePlace`, but where a condition does not hold it gives no place, and writes nothing. */
export async function takePlaceIf<const Reads extends readonly Read[]>(
  context: Context,
  { session, keys }: Pick<Place, "session" | "keys">,
  value: Uint8Array,
  conditions: readonly Condition[],
  reads: Reads,
  signal: AbortSignal,
): Promise<{ readonly place: Place | undefined; readonly results: ResultsOf<Reads> }> {
  const { kv, clock } = context.backend;
  const puts = keys.map((key) => ({ put: key, value, lease: session.lease }));
  const own = keys.map((key) => ({ get: key }));
  let sendings = 0;
  const commit = await settle(clock, signal, () => {
    sendings += 1;
    return kv.commit({ if: conditions, then: [...puts, ...own, ...reads], else: [...own, ...reads] }, { signal });
  });
  const seen = (commit.results as readonly unknown[]).slice(commit.succeeded ? puts.length : 0);
  const entries = seen.slice(0, keys.length) as readonly (Entry | undefined)[];
  const results = seen.slice(keys.length) as unknown as ResultsOf<Reads>;
  const resent = sendings > 1;
  // Our own keys though the conditions fail: an earlier sending of this commit was applied.
  if (entries[0]) return { place: { session, keys, created: createdOf(keys, entries), resent }, results };
  // An earlier sending may still arrive, and find that they hold.
  if (resent) void session.discard(keys);
  return { place: undefined, results };
}

/** Reads, in the same commit that finds the place still there; rejects with `LEASE_LOST` when it is not. */
export async function lookFrom<const Reads extends readonly Read[]>(
  context: Context,
  { keys, created }: Place,
  reads: Reads,
  signal: AbortSignal,
): Promise<ResultsOf<Reads>> {
  const own = keys.map((key) => ({ get: key }));
  const { results } = await context.backend.kv.commit({ then: [...own, ...reads] }, { signal });
  const entries = (results as readonly unknown[]).slice(0, keys.length) as readonly (Entry | undefined)[];
  createdOf(keys, entries, created);
  return (results as readonly unknown[]).slice(keys.length) as unknown as ResultsOf<Reads>;
}

/** The revision that created all of them. */
function createdOf(
  keys: readonly string[],
  entries: readonly (Entry | undefined)[],
  expected: Revision | undefined = entries[0]?.created,
): Revision {
  const missing = entries.findIndex((entry) => entry === undefined || entry.created !== expected);
  if (missing < 0 && expected !== undefined) return expected;
  throw new CoordinationError("LEASE_LOST", `the place in line is lost: the key ${keys[missing]} is gone`);
}

/** Deletes own keys; never rejects. */
export async function leave({ session, keys, created, resent }: Place): Promise<void> {
  if (session.isAlive()) await session.discard(keys, resent ? undefined : created);
}
