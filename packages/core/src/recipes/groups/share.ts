import { backoffMs } from "../../backoff.ts";
import { Bell } from "../../bell.ts";
import { type Context, segment, unsegment } from "../../context.ts";
import { CoordinationError, isCoordinationError } from "../../errors.ts";
import { decodeJson, encodeJson, type Json } from "../../json.ts";
import { KeptKey, type Standing } from "../../kept-key.ts";
import type { Entry, Revision } from "../../ports/kv.ts";
import { Replica } from "../../replica.ts";
import { isForNow, persistently, settle } from "../../settle.ts";
import { abortable, linkSignals, onAbort, sleep } from "../../signals.ts";
import { type Assignment, Partition, rendezvous } from "./partition.ts";

/** Whose share of what. */
export interface ShareOf {
  /** Below it are the members, `member/<id>`, and the owners, `owner/<partition>`. */
  readonly prefix: string;
  readonly names: readonly string[];
  /** For how many milliseconds the members are left to come and go before partitions move. */
  readonly settleMs: number;
}

interface Owned {
  readonly partition: Partition;
  readonly created: Revision;
  readonly revoke: AbortController;
}

/** Each takes two operations of a transaction. */
const claimsPerCommit = 30;

/**
 * One member's part in a partitioner (see `partitioner.ts`, whose steps these are): a kept key that says that it is a
 * member, a replica that shows all members and owners, and the partitions it owns.
 */
export class Share {
  readonly #context: Context;
  readonly #of: ShareOf;
  readonly #id: string;
  readonly #seat: KeptKey<Uint8Array>;
  readonly #replica: Replica;
  readonly #bell = new Bell();
  readonly #stopped = new AbortController();
  readonly #owned = new Map<string, Owned>();
  /** The owners' keys that were given back last: while the store is away, they are still to be deleted. */
  readonly #givenBack = new Map<string, Revision>();
  /** What the consumer was last told is its own. */
  #told: ReadonlyMap<string, Partition> | undefined;
  /** The members that the wanted partitions follow from. */
  #members: string | undefined;
  #wanted: ReadonlySet<string> = new Set<string>();
  /** A claim may have been applied without our knowing, or may be yet. */
  #unsure = false;
  #failures = 0;

  private constructor(context: Context, of: ShareOf, id: string, seat: KeptKey<Uint8Array>, replica: Replica) {
    this.#context = context;
    this.#of = of;
    this.#id = id;
    this.#seat = seat;
    this.#replica = replica;
    void this.#attend();
  }

  /** Joins the members. Rejects as `Membership.join` does. */
  static async open(context: Context, of: ShareOf, signal: AbortSignal): Promise<Share> {
    const id = context.backend.clock.id();
    const keeping = {
      key: `${of.prefix}member/${id}`,
      what: `the member ${id} of ${of.prefix}`,
      value: encodeJson("owner", context.owner),
      encode: (bytes: Uint8Array) => bytes,
    };
    const seat = await KeptKey.open(context, keeping, { signal });
    try {
      return new Share(context, of, id, seat, await Replica.open(context.backend, of.prefix, signal));
    } catch (error) {
      await seat.remove();
      throw error;
    }
  }

  /** The next assignment, once it is another than the last; asking for it says that what the last one lacked has stopped. */
  async next(signal: AbortSignal): Promise<Assignment> {
    const { clock } = this.#context.backend;
    using linked = linkSignals(signal, this.#stopped.signal);
    for (;;) {
      const heard = this.#bell.rings;
      linked.signal.throwIfAborted();
      // What is lost or revoked, and nobody uses: the consumer was told to stop, or never to begin.
      const unused = this.#giveBack(({ partition }) => !partition.isHeld() && !this.#tells(partition));
      await abortable(unused, linked.signal);
      const done = await this.#claim(linked.signal);
      linked.signal.throwIfAborted();
      const partitions = this.#held();
      const first = this.#told === undefined && this.#members !== undefined;
      if (first || (this.#told && !sameValues(partitions, this.#told))) {
        this.#told = partitions;
        return { partitions, revision: this.#replica.revision };
      }
      this.#failures = done ? 0 : this.#failures + 1;
      const patience = done ? {} : { patienceMs: backoffMs(clock, this.#failures) };
      await this.#bell.after(heard, { clock, ...patience, signal: linked.signal });
    }
  }

  /** Aborts the signals of all partitions; what uses them must stop. */
  stop(reason: unknown): void {
    this.#stopped.abort(reason);
    for (const { revoke } of this.#owned.values()) revoke.abort(reason);
  }

  /** Gives everything back, and leaves. Never rejects for a store that is away. */
  async end(): Promise<void> {
    this.stop(new CoordinationError("NOT_HELD", "the partitions were given back"));
    await this.#giveBack(() => true);
    const { standing } = this.#seat;
    await this.#seat.remove();
    await this.#replica[Symbol.asyncDispose]();
    if (this.#unsure && standing)
      void persistently(this.#context.backend.clock, standing.session.signal, () => this.#sweep());
  }

  /** Sees members and owners come and go, for as long as it takes part. */
  async #attend(): Promise<void> {
    try {
      for await (const { stale } of this.#replica) {
        if (!stale) await this.#follow();
        this.#bell.ring();
      }
    } catch (reason) {
      this.stop(reason);
    }
  }

  /** Revokes what the members of now give to others, once they have had time to settle. */
  async #follow(): Promise<void> {
    if (this.#memberIds().join() === this.#members) return;
    await sleep(this.#context.backend.clock, this.#of.settleMs, this.#stopped.signal);
    const members = this.#memberIds();
    this.#members = members.join();
    this.#wanted = new Set(this.#of.names.filter((name) => rendezvous(name, members) === this.#id));
    for (const [name, { revoke }] of this.#owned) if (!this.#wanted.has(name)) this.#revoke(name, revoke);
  }

  #revoke(name: string, revoke: AbortController): void {
    revoke.abort(new CoordinationError("NOT_HELD", `the partition ${name} goes to another member`));
  }

  #memberIds(): readonly string[] {
    const prefix = `${this.#of.prefix}member/`;
    return this.#replica.list(prefix).map(({ key }) => key.slice(prefix.length));
  }

  /** Claims what is ours to own and free; whether all of it was decided. */
  async #claim(signal: AbortSignal): Promise<boolean> {
    const { standing } = this.#seat;
    if (this.#replica.stale || !standing) return false;
    const prefix = `${this.#of.prefix}owner/`;
    const owners = new Map(
      this.#replica.list(prefix).map((entry) => [unsegment(entry.key.slice(prefix.length)), entry]),
    );
    for (const [name, entry] of owners) {
      // Of a claim that arrived late, or that we were not told of.
      const stray = this.#isOurs(entry, standing) && !this.#owned.has(name) && !this.#wanted.has(name);
      if (stray) void standing.session.discard([entry.key], entry.created);
    }
    const free = [...this.#wanted].filter((name) => {
      const entry = owners.get(name);
      return !this.#owned.has(name) && (entry === undefined || this.#isOurs(entry, standing));
    });
    try {
      for (let from = 0; from < free.length; from += claimsPerCommit)
        await this.#claimBatch(free.slice(from, from + claimsPerCommit), standing, signal);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (!isForNow(error)) throw error;
      return false;
    }
  }

  /** Claims those that nobody has, all in one commit, while we are a member. */
  async #claimBatch(names: readonly string[], { session, created }: Standing, until: AbortSignal): Promise<void> {
    const { kv, clock } = this.#context.backend;
    using linked = linkSignals(until, session.signal);
    const { signal } = linked;
    const member = { key: `${this.#of.prefix}member/${this.#id}`, created };
    const value = encodeJson("owner", { member: this.#id, owner: this.#context.owner });
    for (let left = names; left.length > 0; ) {
      const keys = left.map((name) => `${this.#of.prefix}owner/${segment(name)}`);
      const reads = keys.map((key) => ({ get: key }));
      const claim = {
        if: [member, ...keys.map((key) => ({ key, exists: false }))],
        then: [...reads, ...keys.map((key) => ({ put: key, value, lease: session.lease }))],
        else: [...reads, { get: member.key }],
      };
      const { succeeded, results } = await settle(clock, signal, () =>
        kv.commit(claim, { signal }).catch((error: unknown) => {
          this.#unsure ||= isCoordinationError(error, "OUTCOME_UNKNOWN");
          throw error;
        }),
      );
      const entries = (results as readonly (Entry | undefined)[]).slice(0, keys.length);
      for (const [index, entry] of entries.entries())
        if (entry && this.#isOurs(entry, { session, created })) this.#own(left[index] as string, session, entry);
      if (succeeded || (results.at(-1) as Entry | undefined)?.created !== created) return;
      left = left.filter((_, index) => entries[index] === undefined);
    }
  }

  #own(name: string, session: Standing["session"], { key, created }: Entry): void {
    const revoke = new AbortController();
    const place = { session, keys: [key], created, resent: false };
    const ring = () => this.#bell.ring();
    const partition = new Partition(name, ring, this.#context.backend, place, revoke.signal);
    onAbort(partition.signal, ring);
    this.#owned.set(name, { partition, created, revoke });
    if (!this.#wanted.has(name)) this.#revoke(name, revoke);
  }

  /** Whether an owner's key is one that we put, on the lease that keeps us a member now, and did not give back since. */
  #isOurs(entry: Entry, { session }: Standing): boolean {
    const isGivenBack = entry.created === this.#givenBack.get(entry.key);
    return entry.lease === session.lease.id && !isGivenBack && ownerOf(entry) === this.#id;
  }

  /** Whether the consumer was last told that it has this one. */
  #tells(partition: Partition): boolean {
    return this.#told?.get(partition.name) === partition;
  }

  #held(): ReadonlyMap<string, Partition> {
    const held = this.#of.names.flatMap((name) => this.#owned.get(name) ?? []);
    return new Map(held.flatMap(({ partition }) => (partition.isHeld() ? [[partition.name, partition]] : [])));
  }

  async #giveBack(chosen: (owned: Owned) => boolean): Promise<void> {
    const given = [...this.#owned.values()].filter(chosen);
    for (const { partition, created } of given) this.#givenBack.set(partition.key, created);
    await Promise.all(given.map(({ partition }) => partition.release()));
    for (const { partition } of given) this.#owned.delete(partition.name);
  }

  /** Deletes what we own and were not told of, once we are no member: then nothing more of it can be applied. */
  async #sweep(): Promise<void> {
    const { kv } = this.#context.backend;
    const { entries } = await kv.list(this.#of.prefix);
    if (entries.some(({ key }) => key === `${this.#of.prefix}member/${this.#id}`))
      throw new CoordinationError("UNAVAILABLE", "it is still a member");
    for (const { key, created } of entries.filter((entry) => ownerOf(entry) === this.#id))
      await kv.commit({ if: [{ key, created }], then: [{ delete: key }] });
  }
}

/** The id of the member that an owner's key names; undefined where somebody else wrote what is none. */
function ownerOf(entry: Entry): Json | undefined {
  try {
    return (decodeJson(entry) as { readonly member?: Json } | null)?.member;
  } catch {
    return undefined;
  }
}

function sameValues<T>(one: ReadonlyMap<string, T>, other: ReadonlyMap<string, T>): boolean {
  return one.size === other.size && [...one].every(([name, value]) => other.get(name) === value);
}
