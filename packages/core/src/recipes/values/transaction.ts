import {
  checkFunction,
  checkKey,
  checkOptions,
  checkPrefix,
  checkValue,
  outOfRange,
  wrongType,
} from "../../arguments.ts";
import { backoffMs } from "../../backoff.ts";
import { compareKeys } from "../../bytes.ts";
import type { Context, WaitOptions } from "../../context.ts";
import { CoordinationError } from "../../errors.ts";
import type { Limits } from "../../ports/backend.ts";
import type { Condition, Delete, Put } from "../../ports/kv.ts";
import { linkSignals, sleep } from "../../signals.ts";
import { Snapshot } from "./snapshot.ts";

/** How to run a transaction. */
export interface TransactOptions extends WaitOptions {
  /** How often to call the function at most, when what it read keeps changing; 100 when absent. */
  readonly attempts?: number | undefined;
}

/** A key and what it holds, as a transaction sees it. */
export interface KeyValue {
  readonly key: string;
  /** Yours to change: nobody else sees it. */
  readonly value: Uint8Array;
}

/**
 * One attempt at a transaction: the keys of the conclave, those of its recipes too, as they are at one moment, and as this
 * attempt has changed them. For use within the function it was given to; used later it throws, or rejects with, `TypeError`.
 */
export interface Transaction {
  /** What a key holds; undefined when there is none. One round trip, or none for what was read, listed or written here. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** What is under a prefix, in the order of the keys' bytes. One round trip, or none. List no more than you must. */
  list(prefix: string): Promise<readonly KeyValue[]>;
  /** Writes a key when the transaction is applied; on no lease, so a key that was on one comes off it. */
  put(key: string, value: Uint8Array): void;
  /** Deletes a key when the transaction is applied. */
  delete(key: string): void;
}

/**
 * Runs a function whose reads and writes take effect as one step. That is optimistic, as the STM of etcd's Go client, and
 * of Harris, Marlow, Peyton Jones and Herlihy, "Composable Memory Transactions" (PPoPP 2005):
 *
 *   1. call the function with a snapshot of the store, and keep its writes; reads cost a round trip each (`snapshot.ts`);
 *   2. what it read has changed: that ends the attempt, and its writes are forgotten;
 *   3. it ends without writes: all that it read was true at once, at its last read, so there is nothing to do;
 *   4. otherwise commit its writes if all that it read is unchanged, exactly once (`receipts.ts`);
 *   5. something had changed: wait for a moment and go to 1.
 *
 * Unlike those, no attempt ever sees an inconsistent state, not even one that is going to fail, so the function needs no
 * defence against the impossible; and what is listed is covered, with what is added there and what is deleted.
 */
export async function transact<T>(
  context: Context,
  work: (transaction: Transaction) => Promise<T> | T,
  options: TransactOptions = {},
): Promise<T> {
  checkFunction("work of transact", work);
  checkOptions("transact", options, ["signal", "attempts"]);
  const { attempts = 100 } = options;
  if (typeof attempts !== "number") throw wrongType("attempts of transact", attempts, "a number");
  if (!Number.isSafeInteger(attempts) || attempts < 1)
    throw outOfRange("attempts of transact", attempts, "a whole number, 1 or more");
  const { backend, receipts, closed } = context;
  const { kv, clock, limits } = backend;
  using linked = linkSignals(options.signal, closed);
  const { signal } = linked;
  // One condition, and one operation, is the receipt's.
  const most = limits.maxOperations - 1;
  for (let count = 1; count <= attempts; count++) {
    signal.throwIfAborted();
    const attempt = new Attempt(new Snapshot(kv, most, { signal }), limits, most);
    const ended = await attempt.run(work);
    signal.throwIfAborted();
    if (ended) {
      const { result, conditions, then } = ended;
      if (then.length === 0) return result;
      // What it rejects with is thrown: the function must not be called again when this may have been applied.
      const { applied } = await receipts.commit({ if: conditions, then }, { signal });
      if (applied) return result;
    }
    if (count < attempts) await sleep(clock, backoffMs(clock, count), signal);
  }
  const message = `the transaction was not applied: what it read had changed in each of ${attempts} attempts`;
  throw new CoordinationError("UNAVAILABLE", message);
}

/** What an attempt came to: what its function gave, what it saw, and what it wrote. */
interface Ended<T> {
  readonly result: T;
  readonly conditions: readonly Condition[];
  readonly then: readonly (Put | Delete)[];
}

/** A transaction under way: a snapshot, and over it what was written. */
class Attempt implements Transaction {
  readonly #snapshot: Snapshot;
  readonly #limits: Limits;
  readonly #mostWrites: number;
  /** Values by key; undefined where the key is deleted. */
  readonly #writes = new Map<string, Uint8Array | undefined>();
  #ended = false;

  constructor(snapshot: Snapshot, limits: Limits, mostWrites: number) {
    this.#snapshot = snapshot;
    this.#limits = limits;
    this.#mostWrites = mostWrites;
  }

  /** What it came to; undefined when what it read has changed, whatever the function made of that. */
  async run<T>(work: (transaction: Transaction) => Promise<T> | T): Promise<Ended<T> | undefined> {
    try {
      const result = await work(this);
      if (this.#snapshot.outdated) return undefined;
      const then = [...this.#writes].map(([key, value]) => (value ? { put: key, value } : { delete: key }));
      return { result, conditions: this.#snapshot.conditions, then };
    } catch (error) {
      if (this.#snapshot.outdated) return undefined;
      throw error;
    } finally {
      this.#ended = true;
    }
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return handled(async () => {
      this.#throwIfOver("get");
      checkKey("key", key, this.#limits);
      if (this.#writes.has(key)) return copyOf(this.#writes.get(key));
      return copyOf((await this.#snapshot.get(key))?.value);
    });
  }

  list(prefix: string): Promise<readonly KeyValue[]> {
    return handled(async () => {
      this.#throwIfOver("list");
      checkPrefix("prefix", prefix, this.#limits);
      const entries = await this.#snapshot.list(prefix);
      const values = new Map(entries.map(({ key, value }): [string, Uint8Array | undefined] => [key, value]));
      for (const [key, value] of this.#writes) if (key.startsWith(prefix)) values.set(key, value);
      return [...values]
        .flatMap(([key, value]) => (value ? [{ key, value: new Uint8Array(value) }] : []))
        .sort((one, other) => compareKeys(one.key, other.key));
    });
  }

  put(key: string, value: Uint8Array): void {
    checkValue("value", value, this.#limits);
    this.#write("put", key, new Uint8Array(value));
  }

  delete(key: string): void {
    this.#write("delete", key, undefined);
  }

  #write(call: string, key: string, value: Uint8Array | undefined): void {
    this.#throwIfOver(call);
    checkKey("key", key, this.#limits);
    if (!this.#writes.has(key) && this.#writes.size === this.#mostWrites)
      throw new RangeError(`a transaction may write at most ${this.#mostWrites} keys`);
    this.#writes.set(key, value);
  }

  #throwIfOver(call: string): void {
    if (this.#ended) throw new TypeError(`${call} of a transaction must be called before its function ends`);
    this.#snapshot.throwIfOutdated();
  }
}

function copyOf(value: Uint8Array | undefined): Uint8Array | undefined {
  return value && new Uint8Array(value);
}

/** A promise that nobody needs to wait for: a read that was not awaited must not end the process when it fails. */
function handled<T>(work: () => Promise<T>): Promise<T> {
  const promise = work();
  promise.catch(() => {});
  return promise;
}
