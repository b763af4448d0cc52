import { encode, noBytes } from "./bytes.ts";
import { CoordinationError, isCoordinationError } from "./errors.ts";
import type { Backend } from "./ports/backend.ts";
import type { CallOptions, Condition, Delete, Entry, Put, Read, ResultsOf, Revision, Txn } from "./ports/kv.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import { persistently, settle } from "./settle.ts";
import { linkSignals } from "./signals.ts";

/** A transaction whose effect is known without its answer: it reads only when a condition fails. */
export interface OnceTxn {
  readonly if?: readonly Condition[] | undefined;
  readonly then: readonly (Put | Delete)[];
  readonly else?: readonly Read[] | undefined;
}

/** What became of it: applied, at the revision of its writes, or not, and then what `else` read. */
export type Once<T extends OnceTxn> =
  | { readonly applied: true; readonly revision: Revision }
  | { readonly applied: false; readonly results: ResultsOf<T["else"]> };

/** An own key that each of its commits writes anew; `modified` is when the last one did. */
interface Receipt {
  readonly key: string;
  readonly modified: Revision | undefined;
}

/** What a receipt holds of a commit that was applied; one that was voided is empty. */
const applied = encode("applied");

/** A receipt, and what else was read. */
type Seen = readonly [Entry | undefined, ...unknown[]];

/**
 * Commits that apply once, however often they have to be sent:
 *
 *   1. take a receipt, a key on the session's lease that no other commit of ours is using;
 *   2. commit, if the receipt is unchanged, and write the receipt in the same commit;
 *   3. while the outcome is unknown, send the same again: only one sending finds the receipt unchanged;
 *   4. a changed receipt says that it was applied, and when;
 *   5. when it was not, but was sent more than once, write the receipt as void: what was sent first then does nothing if
 *      it arrives last;
 *   6. put the receipt back for the next commit; when the outcome is still unknown, because the commit was given up, void
 *      the receipt first.
 *
 * A receipt is never deleted: what was sent under a new one would find it absent again. Whatever arrives after the lease
 * has ended puts a key on a dead lease, and so does nothing.
 *
 * A process has as many receipts as it had such commits under way at once, and they go with its lease. That a record of
 * completion is kept with the data is the idea of Lee, Park, Kejriwal, Matsushita and Ousterhout, "Implementing
 * Linearizability at Large Scale and Low Latency" (SOSP 2015, section 3).
 */
export class Receipts {
  readonly #backend: Backend;
  readonly #sessions: Sessions;
  readonly #idle = new WeakMap<Session, Receipt[]>();

  constructor(backend: Backend, sessions: Sessions) {
    this.#backend = backend;
    this.#sessions = sessions;
  }

  /**
   * Commits once, in one round trip while nothing fails. `make` is given the session, whose lease the puts may use. A
   * receipt takes one of a transaction's operations and one of its conditions.
   *
   * Rejects with `UNAVAILABLE`, `LEASE_LOST`, `LIMIT` or `DENIED` when surely nothing was applied; with `OUTCOME_UNKNOWN`
   * when the session ended before the outcome was known; and with `signal.reason`, after which a transaction that was sent
   * may have been applied.
   */
  async commit<const T extends OnceTxn>(
    make: T | ((session: Session) => T),
    { signal, timeoutMs }: CallOptions = {},
  ): Promise<Once<T>> {
    const session = await this.#sessions.current({ signal });
    const txn = typeof make === "function" ? make(session) : make;
    const { kv, clock } = this.#backend;
    const receipt = this.#take(session);
    const { key, modified } = receipt;
    const unchanged = unchangedOf(receipt);
    const putOf = (value: Uint8Array) => ({ put: key, value, lease: session.lease });
    const reads = [{ get: key }, ...(txn.else ?? [])];
    using linked = linkSignals(signal, session.signal);
    let unknown = false;
    const send = (txn: Txn) =>
      settle(clock, linked.signal, () =>
        kv.commit(txn, { signal: linked.signal, timeoutMs }).catch((error: unknown) => {
          unknown ||= isCoordinationError(error, "OUTCOME_UNKNOWN");
          throw error;
        }),
      );
    let seen: Seen;
    try {
      const commit = await send({
        if: [unchanged, ...(txn.if ?? [])],
        then: [putOf(applied), ...txn.then],
        else: reads,
      });
      if (commit.succeeded) {
        this.#putBack(session, { key, modified: commit.revision });
        return { applied: true, revision: commit.revision };
      }
      seen = commit.results as Seen;
      if (unknown && seen[0]?.modified === modified) {
        const voiding = await send({ if: [unchanged], then: [putOf(noBytes), ...reads], else: reads });
        seen = (voiding.succeeded ? voiding.results.slice(1) : voiding.results) as unknown as Seen;
      }
    } catch (error) {
      if (unknown) void this.#void(session, receipt);
      else this.#putBack(session, receipt);
      if (!unknown || signal?.aborted || !isCoordinationError(error)) throw error;
      throw outcomeUnknown(error.message, error);
    }
    const [entry, ...results] = seen;
    this.#putBack(session, { key, modified: entry?.modified });
    if (entry === undefined && modified !== undefined) {
      const message = `somebody else deleted the receipt ${key}`;
      throw unknown ? outcomeUnknown(message) : new CoordinationError("UNAVAILABLE", message);
    }
    if (entry && entry.modified !== modified && entry.value.length > 0)
      return { applied: true, revision: entry.modified };
    return { applied: false, results: results as unknown as ResultsOf<T["else"]> };
  }

  /** Makes sure that what may still arrive under a receipt does nothing then, and puts the receipt back. */
  #void(session: Session, receipt: Receipt): Promise<void> {
    const { kv, clock } = this.#backend;
    const { key } = receipt;
    const { signal, lease } = session;
    return persistently(clock, signal, async () => {
      const voiding = { if: [unchangedOf(receipt)], then: [{ put: key, value: noBytes, lease }], else: [{ get: key }] };
      const { succeeded, revision, results } = await kv.commit(voiding, { signal });
      const entry = results[0] as Entry | undefined;
      this.#putBack(session, { key, modified: succeeded ? revision : entry?.modified });
    });
  }

  #take(session: Session): Receipt {
    return this.#idle.get(session)?.pop() ?? { key: `receipts/${session.nextName()}`, modified: undefined };
  }

  #putBack(session: Session, receipt: Receipt): void {
    const idle = this.#idle.get(session) ?? [];
    idle.push(receipt);
    this.#idle.set(session, idle);
  }
}

function unchangedOf({ key, modified }: Receipt): Condition {
  return modified === undefined ? { key, exists: false } : { key, modified };
}

function outcomeUnknown(why: string, cause?: unknown): CoordinationError {
  return new CoordinationError("OUTCOME_UNKNOWN", `whether a write was applied is not known: ${why}`, { cause });
}
