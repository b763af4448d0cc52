import {
  type Change,
  type Clock,
  type Condition,
  CoordinationError,
  compareKeys,
  type Entry,
  type List,
  type Listing,
  noBytes,
  type Operation,
  type Put,
  type Revision,
  type Txn,
  wrongType,
} from "@conclave/core/backend";
import { KeySpace } from "./key-space.ts";
import type { Changes, Mode } from "./mode.ts";
import { giveWay } from "./turns.ts";

/** Revisions that can be resumed from; older ones may be forgotten. */
const historyLength = 1_000;

const callsBetweenTurns = 1_000;

interface LeaseState {
  readonly id: string;
  readonly owner: object;
  readonly ttlMs: number;
  readonly keys: Set<string>;
  expiresAtMs: number;
}

/** A transaction whose conditions were decided and whose writes are done; its reads are still to be made. */
export interface Applied {
  readonly succeeded: boolean;
  /** Undefined when nothing was written. */
  readonly revision: Revision | undefined;
  readonly operations: readonly Operation[];
  readonly deleted: ReadonlySet<string>;
}

/**
 * The store itself: keys, leases, revisions and a bounded history. Every method is one indivisible step. What it holds
 * is never changed in place, and what it gives out is the caller's to change.
 */
export class Ledger {
  readonly clock: Clock;
  readonly mode: Mode;
  readonly #keys = new KeySpace();
  readonly #leases = new Map<string, LeaseState>();
  readonly #listeners = new Set<(changes: Changes) => void>();
  #revision: Revision;
  #history: Changes[] = [];
  /** Changes up to here may be missing from the history. */
  #forgotten: Revision;
  /** No lease expires before this. */
  #nextExpiryMs = Number.POSITIVE_INFINITY;
  #expiryTimer: Disposable | undefined;
  #calls = 0;

  constructor(clock: Clock, mode: Mode) {
    this.clock = clock;
    this.mode = mode;
    this.#revision = mode.firstRevision;
    this.#forgotten = mode.firstRevision;
  }

  get revision(): Revision {
    return this.#revision;
  }

  /**
   * What every call waits for first: a moment, and now and then a whole turn of the event loop. Else a program that looks
   * again and again without a pause would keep timers, and the deadline of the test it is in, from ever coming due.
   */
  async givenWay(): Promise<void> {
    this.#calls += 1;
    if (this.#calls % callsBetweenTurns === 0) await giveWay();
  }

  /** Told of every change until disposed. Leases expire on a timer only while someone listens, so no timer outlives the clients. */
  listen(listener: (changes: Changes) => void): Disposable {
    this.reap();
    this.#listeners.add(listener);
    this.#setTimer();
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(listener);
        this.#setTimer();
      },
    };
  }

  /** What changed after a revision, oldest first; undefined when some of it is forgotten. */
  since(revision: Revision): readonly Changes[] | undefined {
    if (revision < this.#forgotten) return undefined;
    let start = this.#history.length;
    while (start > 0 && (this.#history[start - 1] as Changes).revision > revision) start -= 1;
    return this.#history.slice(start);
  }

  /** Takes away the leases whose time is over. Called before every call too: a late timer must not show a dead key. */
  reap(): void {
    const nowMs = this.clock.monotonicMs();
    if (nowMs < this.#nextExpiryMs) return;
    const expired = [...this.#leases.values()].filter((lease) => lease.expiresAtMs <= nowMs);
    for (const lease of expired.sort((a, b) => a.expiresAtMs - b.expiresAtMs)) this.#end(lease);
    this.#nextExpiryMs = Math.min(...[...this.#leases.values()].map((lease) => lease.expiresAtMs));
    this.#setTimer();
  }

  grant(askedMs: number, owner: object): { readonly id: string; readonly ttlMs: number } {
    const ttlMs = this.mode.grantedMs(askedMs);
    const lease: LeaseState = { id: this.clock.id(), owner, ttlMs, keys: new Set(), expiresAtMs: 0 };
    this.#leases.set(lease.id, lease);
    this.#renew(lease);
    return lease;
  }

  keepAlive(id: string): number {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw leaseLost(id);
    this.#renew(lease);
    return lease.ttlMs;
  }

  revoke(id: string): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    this.#end(lease);
    if (this.#leases.size === 0) this.#nextExpiryMs = Number.POSITIVE_INFINITY;
    this.#setTimer();
  }

  get(key: string): Entry | undefined {
    const entry = this.#keys.get(key);
    return entry && copyOf(entry);
  }

  list({ list: prefix, order = "key", limit, createdBefore, startAfter, keysOnly }: List): Listing {
    let found = [...this.#keys.under(prefix, startAfter)];
    if (createdBefore !== undefined) found = found.filter((entry) => entry.created < createdBefore);
    if (order !== "key") found.sort(byCreation(order));
    const taken = limit === undefined ? found : found.slice(0, limit);
    return {
      entries: taken.map((entry) => (keysOnly ? { ...entry, value: noBytes } : copyOf(entry))),
      revision: this.#revision,
      more: taken.length < found.length,
    };
  }

  /** Decides the conditions and does the writes. `owner` is who may attach its leases. */
  apply(txn: Txn, owner: object): Applied {
    const succeeded = (txn.if ?? []).every((condition) => this.#holds(condition));
    const operations: readonly Operation[] = succeeded ? txn.then : (txn.else ?? []);
    for (const operation of operations) {
      if ("put" in operation && operation.lease) this.#checkLease(operation.lease.id, owner);
    }
    const revision = this.#revision + this.mode.revisionStep();
    const deleted = new Set<string>();
    const changes: Change[] = [];
    for (const operation of operations) {
      if ("put" in operation) changes.push(...this.#put(operation, revision));
      else if ("delete" in operation && this.#keys.get(operation.delete)) {
        deleted.add(operation.delete);
        changes.push(this.#delete(operation.delete, revision));
      }
    }
    if (changes.length > 0) this.#publish({ revision, changes });
    return { succeeded, revision: changes.length > 0 ? revision : undefined, operations, deleted };
  }

  /** Makes the reads of an applied transaction: all of them now, after all of its writes, in one cut. */
  answer({ succeeded, revision, operations, deleted }: Applied): object {
    const results = operations.map((operation) => {
      if ("get" in operation) return this.get(operation.get);
      if ("list" in operation) return this.list(operation);
      return "delete" in operation ? deleted.has(operation.delete) : undefined;
    });
    return { succeeded, revision: revision ?? this.#revision, readAt: this.#revision, results };
  }

  #holds(condition: Condition): boolean {
    if ("prefix" in condition) {
      for (const { modified } of this.#keys.under(condition.prefix))
        if ("empty" in condition || modified > condition.noneModifiedAfter) return false;
      return true;
    }
    const entry = this.#keys.get(condition.key);
    if ("exists" in condition) return condition.exists === (entry !== undefined);
    if ("created" in condition) return entry?.created === condition.created;
    return entry?.modified === condition.modified;
  }

  #checkLease(id: string, owner: object): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw leaseLost(id);
    // A store such as ZooKeeper ties a lease to its connection, so a portable program cannot do this.
    if (lease.owner !== owner) throw wrongType("the lease of a put", lease, "one that this client was granted");
  }

  #put({ put: key, value, lease: handle }: Put, revision: Revision): readonly Change[] {
    const old = this.#keys.get(key);
    const lease = handle?.id;
    const replaced = old !== undefined && old.lease !== lease && this.mode.newWithLease;
    const created = old === undefined || replaced ? revision : old.created;
    const entry: Entry = Object.freeze({ key, value, created, modified: revision, lease });
    if (old?.lease !== undefined) this.#leases.get(old.lease)?.keys.delete(key);
    if (lease !== undefined) this.#leases.get(lease)?.keys.add(key);
    this.#keys.set(entry);
    const change: Change = { key, modified: revision, entry };
    return replaced ? [{ key, modified: revision - 1n, entry: undefined }, change] : [change];
  }

  #delete(key: string, revision: Revision): Change {
    const lease = this.#keys.get(key)?.lease;
    if (lease !== undefined) this.#leases.get(lease)?.keys.delete(key);
    this.#keys.delete(key);
    return { key, modified: revision, entry: undefined };
  }

  #publish(changes: Changes): void {
    this.#revision = changes.revision;
    this.#history.push(changes);
    if (this.#history.length >= 2 * historyLength) {
      const forgotten = this.#history.splice(0, historyLength);
      this.#forgotten = (forgotten.at(-1) as Changes).revision;
    }
    for (const listener of this.#listeners) listener(changes);
  }

  #renew(lease: LeaseState): void {
    lease.expiresAtMs = this.clock.monotonicMs() + lease.ttlMs + this.mode.expiryLateMs();
    if (lease.expiresAtMs >= this.#nextExpiryMs) return;
    this.#nextExpiryMs = lease.expiresAtMs;
    this.#setTimer();
  }

  #end(lease: LeaseState): void {
    this.#leases.delete(lease.id);
    if (lease.keys.size === 0) return;
    const revision = this.#revision + this.mode.revisionStep();
    const changes = [...lease.keys].sort(compareKeys).map((key) => this.#delete(key, revision));
    this.#publish({ revision, changes });
  }

  #setTimer(): void {
    this.#expiryTimer?.[Symbol.dispose]();
    this.#expiryTimer = undefined;
    if (this.#listeners.size === 0 || this.#nextExpiryMs === Number.POSITIVE_INFINITY) return;
    this.#expiryTimer = this.clock.after(this.#nextExpiryMs - this.clock.monotonicMs(), () => {
      this.reap();
      this.#setTimer(); // also where it was early, as timers are by fractions of a millisecond
    });
  }
}

function copyOf(entry: Entry): Entry {
  return { ...entry, value: new Uint8Array(entry.value) };
}

function byCreation(order: "oldest" | "newest"): (a: Entry, b: Entry) => number {
  const first = order === "oldest" ? -1 : 1;
  return (a, b) => {
    if (a.created === b.created) return compareKeys(a.key, b.key);
    return a.created < b.created ? first : -first;
  };
}

function leaseLost(id: string): CoordinationError {
  return new CoordinationError("LEASE_LOST", `lease ${id} has expired or was revoked`);
}
