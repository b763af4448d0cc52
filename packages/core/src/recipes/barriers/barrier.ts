import { callOptions, checkOptions, wrongType } from "../../arguments.ts";
import { encode } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { Hold } from "../../hold.ts";
import { Line } from "../../line.ts";
import type { CallOptions, Entry } from "../../ports/kv.ts";
import { patiently, settle } from "../../settle.ts";
import { linkSignals } from "../../signals.ts";
import { waitUntil } from "../../wait.ts";

/** How to close a barrier. */
export interface CloseOptions extends CallOptions {
  /** Whether it opens when this process dies, or releases the hold that `close` then gives; not by default. */
  readonly owned?: boolean | undefined;
}

/**
 * A gate that holds up everybody who comes to it while it is closed. It is open until somebody closes it.
 *
 *   1. to close it, create a key under its prefix, if there is none: a lasting one, or one on this process's lease;
 *   2. to open it, delete the key that is there, if it is still that incarnation;
 *   3. to wait, look whether there is a key; watch that key until it is gone, or is another incarnation.
 *
 * Who waits, waits for the closure that it found. Once that is over it passes, even if the barrier was closed anew before
 * it woke: a barrier that opens and closes in a moment lets everybody through who waited. That is the barrier of ZooKeeper's
 * and etcd's recipes; unlike the latter's, a watch that fails is never taken for an opening.
 */
export class Barrier {
  readonly #context: Context;
  readonly #prefix: string;

  constructor(context: Context, name: Name) {
    this.#context = context;
    this.#prefix = roomyPrefixOf("barrier", name, context.backend.limits);
  }

  /**
   * Closes it, in one round trip; whether it was open until then. A barrier that is closed stays as it is, and opens when
   * whoever closed it opens it or, if they own it, dies. The answer to a close that is lost is settled: it closes once.
   *
   * With `owned` it gives a hold instead, or undefined for a barrier that was closed already. The barrier opens when the
   * hold is released, and at the end of this process's lease when it dies. The hold is lost when somebody opens the barrier.
   *
   * Rejects with `UNAVAILABLE` when nothing was closed, with `OUTCOME_UNKNOWN` or `signal.reason` when it may have been
   * (an owned one is then opened again), with `LEASE_LOST` when the session ends meanwhile, and with `CLOSED`, `LIMIT` or
   * `DENIED`.
   */
  close(options: CloseOptions & { readonly owned: true }): Promise<Hold | undefined>;
  close(options?: CloseOptions & { readonly owned?: false | undefined }): Promise<boolean>;
  async close({ owned = false, ...options }: CloseOptions = {}): Promise<Hold | boolean | undefined> {
    checkOptions("close", options, callOptions);
    if (typeof owned !== "boolean") throw wrongType("owned of close", owned, "a boolean");
    const { backend, owner, receipts } = this.#context;
    if (owned) {
      const place = await new Line(this.#context, { own: this.#prefix }).takeIfFree(encode(owner), options);
      return place && new Hold(backend, place);
    }
    const { applied } = await receipts.commit(
      { if: [{ prefix: this.#prefix, empty: true }], then: [{ put: `${this.#prefix}closed`, value: encode(owner) }] },
      options,
    );
    return applied;
  }

  /**
   * Opens it, whoever closed it, in two round trips; one when it is open. Everybody who waits passes. A barrier that
   * somebody closes anew meanwhile stays closed. Rejects with `UNAVAILABLE` when nothing was opened, with `signal.reason`,
   * after which it may have been, with `CLOSED`, and with `LIMIT` or `DENIED` as the store says.
   */
  async open(options: CallOptions = {}): Promise<void> {
    checkOptions("open", options, callOptions);
    const { kv, clock } = this.#context.backend;
    const closure = await this.#closure(options);
    if (!closure) return;
    const { key, created } = closure;
    using linked = linkSignals(options.signal, this.#context.closed);
    const { signal } = linked;
    const txn = { if: [{ key, created }], then: [{ delete: key }] };
    await settle(clock, signal, () => kv.commit(txn, { ...options, signal }));
  }

  /** Whether it is closed, in one round trip. Needs no session. Rejects as `kv.list` does. */
  async isClosed(options: CallOptions = {}): Promise<boolean> {
    checkOptions("isClosed", options, callOptions);
    return (await this.#closure(options)) !== undefined;
  }

  /**
   * Resolves when it is open, or was for however short a time: in one round trip when it is open now. Needs no session, and
   * while the barrier stays closed asks the store for nothing but a look every ten seconds or so. An outage only delays it. Rejects with `signal.reason`, with
   * `CLOSED` when the conclave closes, and with `DENIED` as the store says.
   */
  async wait(options: WaitOptions = {}): Promise<void> {
    checkOptions("wait", options, ["signal"]);
    const { backend, closed } = this.#context;
    using linked = linkSignals(options.signal, closed);
    const { signal } = linked;
    const closure = await patiently(backend.clock, signal, () => this.#closure({ signal }));
    if (!closure) return;
    const { key, created } = closure;
    const look = async () => {
      const now = await backend.kv.get(key, { signal });
      return now?.created === created ? undefined : "opened";
    };
    await waitUntil(backend, [{ key }], look, { signal });
  }

  /** The key that closes it; there is never more than one. */
  async #closure(options: CallOptions): Promise<Entry | undefined> {
    const { entries } = await this.#context.backend.kv.list(this.#prefix, { ...options, limit: 1, keysOnly: true });
    return entries[0];
  }
}
