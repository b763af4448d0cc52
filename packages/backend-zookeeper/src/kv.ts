import {
  type CallOptions,
  type Clock,
  type Commit,
  CoordinationError,
  type Entry,
  isCoordinationError,
  type KV,
  type Lease,
  type Listing,
  type ListOptions,
  type Operation,
  type Txn,
  wrongType,
} from "@conclave/core/backend";
import { backoff, Deadline } from "./deadline.ts";
import { Directories } from "./directories.ts";
import type { Layout } from "./layout.ts";
import type { Link, MultiAnswer } from "./link.ts";
import type { Settings } from "./options.ts";
import { Pass } from "./pass.ts";
import { type Found, Plan, unseen } from "./plan.ts";
import type { Reader, Reading } from "./reader.ts";
import { Sighted, type Sightings } from "./sightings.ts";
import type { Sweeper } from "./sweeper.ts";
import { allHold, answer, isRead, rangesOf, type View } from "./view.ts";

/** What keys and values stand on. */
interface Parts {
  readonly link: Link;
  /** The session that a lease is; undefined for one that this client was not granted. */
  readonly linkOf: (lease: Lease) => Link | undefined;
  readonly layout: Layout;
  readonly reader: Reader;
  readonly sweeper: Sweeper;
  readonly sightings: Sightings;
}

/** A commit whose results are not known by type. */
interface Outcome {
  readonly succeeded: boolean;
  readonly revision: bigint;
  readonly readAt: bigint;
  readonly results: readonly unknown[];
}

/** What reads give once their revision is known. */
type Answers = readonly ((revision: bigint) => unknown)[];

/**
 * Keys and values of ZooKeeper. A transaction looks, decides by itself, and has one multi check that all it saw still
 * stands, and do the writes; when something does not, it looks again. That is the optimistic concurrency control of Kung
 * and Robinson (1981). One that writes nothing is decided by what was there together at one revision.
 */
export class ZooKeeperKv implements KV {
  readonly #link: Link;
  readonly #linkOf: Parts["linkOf"];
  readonly #layout: Layout;
  readonly #reader: Reader;
  readonly #sweeper: Sweeper;
  readonly #sightings: Sightings;
  readonly #directories: Directories;
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;

  constructor(
    { link, linkOf, layout, reader, sweeper, sightings }: Parts,
    { clock, callTimeoutMs }: Pick<Settings, "clock" | "callTimeoutMs">,
  ) {
    this.#link = link;
    this.#linkOf = linkOf;
    this.#layout = layout;
    this.#reader = reader;
    this.#sweeper = sweeper;
    this.#sightings = sightings;
    this.#directories = new Directories(link, layout);
    this.#clock = clock;
    this.#callTimeoutMs = callTimeoutMs;
  }

  async get(key: string, options?: CallOptions): Promise<Entry | undefined> {
    return (await this.#reader.read([{ key }], this.#deadline(options), (view) => view.entry(key))).value;
  }

  async list(prefix: string, options: ListOptions = {}): Promise<Listing> {
    const { value, revision } = await this.#reader.read([{ prefix }], this.#deadline(options), (view) =>
      view.list(prefix, options),
    );
    return { ...value, revision };
  }

  async commit<const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> {
    return (await this.#commit(copyOf(txn), this.#deadline(options))) as unknown as Commit<T>;
  }

  #deadline(options: CallOptions = {}): Deadline {
    return new Deadline(this.#clock, options, this.#callTimeoutMs);
  }

  async #commit(txn: Txn, deadline: Deadline): Promise<Outcome> {
    const lease = leaseOf(txn);
    const link = lease === undefined ? this.#link : this.#linkOf(lease);
    if (link === undefined) throw wrongType("the lease of a put", lease, "one that this client was granted");
    // Whether to hope that it writes; what it does not, it decides by reads alone.
    let hopes = txn.then.some((operation) => !isRead(operation)) && !link.ended.aborted;
    let found = hopes && this.#isOwnProof(txn) ? unseen : undefined;
    for (let attempt = 1; ; attempt += 1) {
      if (hopes) found ??= await this.#look(txn, attempt > 1, deadline);
      const outcome = found ? await this.#write(txn, found, link, deadline) : await this.#decide(txn, deadline);
      if (outcome) return outcome;
      if (!found && link.ended.aborted) throw link.ended.reason;
      // What was to be created is there, most likely, so that it is refused.
      hopes = found !== unseen && !link.ended.aborted;
      if (found && hopes)
        await backoff(this.#clock, deadline, attempt, "others wrote what it depends on, again and again");
      found = undefined;
    }
  }

  /** Whether it puts where there must be nothing, and no more than that: then creating the nodes is proof enough. */
  #isOwnProof({ if: conditions = [], then }: Txn): boolean {
    const absent = new Set(conditions.map((one) => ("exists" in one && !one.exists ? one.key : undefined)));
    const put = new Set(then.map((one) => ("put" in one ? one.put : undefined)));
    put.delete(undefined);
    return (
      then.every((one) => isRead(one) || "put" in one) &&
      absent.size === put.size &&
      [...put].every((key) => absent.has(key) && this.#directories.isKnown(this.#layout.entry(key as string)))
    );
  }

  /** What the writes depend on; undefined when there is nothing to write. */
  async #look(txn: Txn, isAgain: boolean, deadline: Deadline): Promise<Found | undefined> {
    // A server that lags behind would show once more what was out of date.
    if (isAgain) await this.#reader.catchUp(deadline);
    using patience = this.#link.patience(deadline.call);
    const pass = new Pass(this.#link, this.#layout, patience, { guarded: true });
    const puts = txn.then.flatMap((one) => ("put" in one ? [this.#layout.entry(one.put)] : []));
    const written = txn.then.flatMap((one) => ("put" in one ? [one.put] : "delete" in one ? [one.delete] : []));
    const [hold, entries, missing] = await Promise.all([
      allHold(txn, pass),
      Promise.all(written.map((key) => pass.entry(key, true))),
      this.#directories.missingAbove(puts, patience),
    ]);
    await pass.guardsRead();
    if (!hold || (puts.length === 0 && entries.every((entry) => entry === undefined))) return undefined;
    if (pass.isOutOfOrder) return this.#look(txn, true, deadline);
    const owners = new Map(
      written.map((key, index) => [this.#layout.entry(key), entries[index] && (entries[index].lease ?? "")]),
    );
    return { versions: pass.versions, lenient: lenient(txn, this.#layout), owners, missing };
  }

  /** Does it, unless what was found has changed: then undefined. Its reads go out at once, behind the writes. */
  async #write(txn: Txn, found: Found, link: Link, deadline: Deadline): Promise<Outcome | undefined> {
    const plan = new Plan(this.#layout, found);
    const results: unknown[] = txn.then.map((operation) => plan.add(operation));
    const reads = txn.then.some(isRead);
    const sending = link.multi(plan.ops, deadline.call);
    // What was written is not undone by giving up the reads.
    const rest = deadline.lasting();
    const reading = reads ? this.#readBehind(sending, link, txn, rest) : undefined;
    reading?.catch(() => {});
    let done: MultiAnswer;
    try {
      done = await sending;
    } catch (error) {
      // Whether that matters, the conditions tell.
      if (link.ended.aborted && isCoordinationError(error, "LEASE_LOST")) return undefined;
      throw error;
    }
    const puts = txn.then.flatMap((one) => ("put" in one ? [this.#layout.entry(one.put)] : []));
    if (!done.applied) {
      if (done.refusal === "NO_NODE") this.#directories.forgetAbove(puts);
      return undefined;
    }
    this.#directories.remember(found.missing);
    for (const one of txn.then) {
      if ("put" in one) this.#sweeper.touch(this.#layout.entry(one.put), one.lease !== undefined);
      else if ("delete" in one) this.#sweeper.touch(this.#layout.entry(one.delete), false);
    }
    const { zxid: revision } = done;
    this.#sightings.wrote(
      txn.then.flatMap((one) => ("put" in one ? [one.put] : [])),
      revision,
    );
    if (!reading) return { succeeded: true, revision, readAt: revision, results };
    const { value, revision: readAt } = await this.#answers(reading, txn, rest);
    for (const [index, given] of value.entries())
      if (isRead(txn.then[index] as Operation)) results[index] = given(readAt);
    return { succeeded: true, revision, readAt, results };
  }

  async #readBehind(
    sending: Promise<MultiAnswer>,
    link: Link,
    txn: Txn,
    deadline: Deadline,
  ): Promise<Reading<Answers> | undefined> {
    using patience = link.patience(deadline.call);
    const pass = new Pass(link, this.#layout, patience, { guarded: false });
    const view = new Sighted(pass);
    const [value, { zxid }] = await Promise.all([answers(txn.then, view), sending]);
    const revision = await pass.revision(zxid);
    return revision !== undefined && this.#sightings.see(view.keys, revision) ? { value, revision } : undefined;
  }

  /** What was read behind the writes, if that is one cut; otherwise what is read now. */
  async #answers(
    reading: Promise<Reading<Answers> | undefined>,
    txn: Txn,
    deadline: Deadline,
  ): Promise<Reading<Answers>> {
    try {
      const exact = await reading.catch(() => undefined);
      return (
        exact ?? (await this.#reader.read(rangesOf({ then: txn.then }), deadline, (view) => answers(txn.then, view)))
      );
    } catch (cause) {
      throw new CoordinationError("OUTCOME_UNKNOWN", "ZooKeeper did the writes, but not the reads", { cause });
    }
  }

  /** Decides it by what is there at one revision; undefined when it is to write. */
  async #decide(txn: Txn, deadline: Deadline): Promise<Outcome | undefined> {
    const { value, revision } = await this.#reader.read(rangesOf(txn), deadline, async (view) => {
      const { then, else: otherwise = [] } = txn;
      // All at once, though only one branch will count.
      const writes = then.some((one) => "put" in one);
      const [ifHeld, ifNot, succeeded, there] = await Promise.all([
        writes ? [] : answers(then, view),
        answers(otherwise, view),
        allHold(txn, view),
        Promise.all(then.map((one) => "delete" in one && view.entry(one.delete, true))),
      ]);
      if (!succeeded) return { succeeded, given: ifNot };
      if (writes || there.some((entry) => entry)) return undefined;
      return { succeeded, given: ifHeld };
    });
    if (value === undefined) return undefined;
    const { succeeded, given } = value;
    return { succeeded, revision, readAt: revision, results: given.map((one) => one(revision)) };
  }
}

function leaseOf({ then }: Txn): Lease | undefined {
  for (const one of then) if ("put" in one && one.lease) return one.lease;
  return undefined;
}

/**
 * Of reads what they give, of deletes that there was nothing, of puts nothing. Lists go out first: what was created
 * between two replies, only a directory that is listed after the first of them can show.
 */
async function answers(operations: readonly Operation[], view: View): Promise<Answers> {
  const given = new Map<Operation, Promise<Answers[number]>>();
  const inOrder = [...operations].sort((a, b) => Number("list" in b) - Number("list" in a));
  for (const one of inOrder) {
    const result = "delete" in one ? false : undefined;
    given.set(one, isRead(one) ? answer(one, view) : Promise.resolve(() => result));
  }
  return Promise.all(operations.map((one) => given.get(one) as Promise<Answers[number]>));
}

/** The nodes of which any version will do, as long as they are there and were not made anew: what is only written, say. */
function lenient({ if: conditions = [], then }: Txn, layout: Layout): ReadonlySet<string> {
  const keys = new Set(then.flatMap((one) => ("put" in one ? [one.put] : "delete" in one ? [one.delete] : [])));
  for (const one of conditions) if ("exists" in one || "created" in one) keys.add(one.key);
  for (const one of conditions) {
    if ("modified" in one) keys.delete(one.key);
    if ("prefix" in one) for (const key of keys) if (key.startsWith(one.prefix)) keys.delete(key);
  }
  return new Set([...keys].map((key) => layout.entry(key)));
}

/** The caller may go on to change what it passed. */
function copyOf(txn: Txn): Txn {
  const own = (one: Operation): Operation => ("put" in one ? { ...one, value: new Uint8Array(one.value) } : one);
  return { ...txn, then: txn.then.map(own) };
}
