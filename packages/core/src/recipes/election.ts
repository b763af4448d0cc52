import { callOptions, checkContent, checkFunction, checkOptions } from "../arguments.ts";
import { backoffMs } from "../backoff.ts";
import { decode, encode } from "../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../context.ts";
import { inWords } from "../errors.ts";
import { Hold } from "../hold.ts";
import { Line } from "../line.ts";
import type { Backend } from "../ports/backend.ts";
import type { CallOptions, Entry } from "../ports/kv.ts";
import { Replica } from "../replica.ts";
import { isForNow } from "../settle.ts";
import { linkSignals, sleep } from "../signals.ts";
import { tokenOf } from "../token.ts";

/** How to be a candidate. */
export interface CampaignOptions extends WaitOptions {
  /** What the candidate proclaims, for observers; by default the `owner` this process connected with. */
  readonly value?: string | undefined;
}

/** Who leads, as observers see it. */
export interface Leader {
  /** What it last proclaimed. */
  readonly value: string;
  /** The token of its leadership; grows with every one. */
  readonly token: bigint;
  /** Its key, as the conclave's own `kv` knows it. Deleting it deposes the leader. */
  readonly key: string;
}

/** Leadership, held until it is resigned or lost; with `signal`, `isHeld`, `token` and `guard` as any hold. */
export class Leadership extends Hold {
  /**
   * Changes what observers see, in one round trip. Rejects with `NOT_HELD` when this leads no more, with why leadership
   * was lost when that happens meanwhile, with `UNAVAILABLE` when the store does not answer and nothing was changed, and
   * with `signal.reason`, after which the change may or may not have been made.
   */
  async proclaim(value: string, options: WaitOptions = {}): Promise<void> {
    checkContent("value", value);
    checkOptions("proclaim", options, ["signal"]);
    this.throwUnlessHeld("proclaim");
    await this.rewrite(encode(value), options);
  }

  /** Gives it up; the next candidate leads. The same as `release`. */
  resign(): Promise<void> {
    return this.release();
  }
}

/**
 * One leader among processes: the line of `line.ts`, in which the oldest candidate leads and every key's value is what
 * its candidate proclaims. That is the layout of `etcdctl elect` and of Go's `concurrency.Election`; unlike it, a
 * candidate's own key is read again after the wait, so nobody leads on a place that expired while it waited. When the
 * leader dies the next one leads at the end of its lease.
 */
export class Election {
  readonly #context: Context;
  readonly #prefix: string;
  readonly #line: Line;

  constructor(context: Context, name: Name) {
    this.#context = context;
    this.#prefix = roomyPrefixOf("election", name, context.backend.limits);
    this.#line = new Line(context, { own: this.#prefix });
  }

  get #backend(): Backend {
    return this.#context.backend;
  }

  /** Waits to be elected, for as long as it takes. Rejects as `Mutex.acquire` does. */
  async campaign(options: CampaignOptions = {}): Promise<Leadership> {
    checkOptions("campaign", options, ["value", "signal"]);
    return this.#campaign(options);
  }

  /**
   * Leads whenever it can:
   *
   *   1. campaign, for as long as it takes;
   *   2. run `lead`; it must stop when `leadership.signal` aborts: leadership was lost, or `signal` aborted;
   *   3. when `lead` ends while leading, resign, and give what it gave or threw; the same when it has resigned itself;
   *   4. when leadership was lost, wait for `lead` to end, and go to 1.
   *
   * Outages and lost sessions only delay it. Rejects with what `lead` threw in step 3, with `signal.reason` when that
   * aborts and `CLOSED` when the conclave closes, both after `lead` ended, and with `DENIED` as the store says. What `lead`
   * throws after leadership was lost goes to `onWarning`, unless it is the reason of the loss.
   */
  async run<T>(lead: (leadership: Leadership) => Promise<T> | T, options: CampaignOptions = {}): Promise<T> {
    checkFunction("lead of run", lead);
    checkOptions("run", options, ["value", "signal"]);
    using linked = linkSignals(options.signal, this.#context.closed);
    for (;;) {
      const leadership = await this.#campaignOn({ ...options, signal: linked.signal });
      try {
        const result = await lead(leadership);
        if (!isLost(leadership)) return result;
      } catch (error) {
        if (!isLost(leadership)) throw error;
        const { reason } = leadership.signal;
        if (error !== reason && (error as Error | undefined)?.cause !== reason)
          this.#context.warn(`after its leadership was lost, lead failed: ${inWords(error)}`);
      } finally {
        await leadership.resign();
      }
      linked.signal.throwIfAborted();
    }
  }

  /** Who leads now; undefined when nobody does. One round trip, and no session. Rejects as `kv.list` does. */
  async leader(options: CallOptions = {}): Promise<Leader | undefined> {
    checkOptions("leader", options, callOptions);
    const { entries } = await this.#backend.kv.list(this.#prefix, { ...options, order: "oldest", limit: 1 });
    return entries[0] && leaderOf(entries[0]);
  }

  /**
   * Who leads, and again whenever that or what they proclaim changes; undefined while nobody does. The newest wins: a
   * slow reader skips leaders, and never sees one that was not first in line. Needs no session.
   *
   * While the store is away it yields nothing, so the last leader seen may lead no more. Rejects with `UNAVAILABLE` when
   * the store does not answer at the start, with `signal.reason`, with `CLOSED` when the conclave closes, and with `DENIED`
   * as the store says. Leaving the loop ends it.
   */
  async *observe(options: WaitOptions = {}): AsyncGenerator<Leader | undefined, void, undefined> {
    checkOptions("observe", options, ["signal"]);
    using linked = linkSignals(options.signal, this.#context.closed);
    await using candidates = await Replica.open(this.#backend, this.#prefix, linked.signal);
    let seen: Entry | "nothing" | undefined = "nothing";
    for await (const { entries } of candidates) {
      const first = oldest(entries.values());
      const same = seen !== "nothing" && first?.created === seen?.created && first?.modified === seen?.modified;
      if (same) continue;
      seen = first;
      yield first && leaderOf(first);
    }
  }

  async #campaign({ value = this.#context.owner, signal }: CampaignOptions, until?: AbortSignal): Promise<Leadership> {
    checkContent("value", value);
    const place = await this.#line.take(encode(value), { signal });
    return new Leadership(this.#backend, place, until);
  }

  async #campaignOn(options: CampaignOptions & { readonly signal: AbortSignal }): Promise<Leadership> {
    const { clock } = this.#backend;
    for (let failures = 1; ; failures++) {
      try {
        return await this.#campaign(options, options.signal);
      } catch (error) {
        options.signal.throwIfAborted();
        if (!isForNow(error)) throw error;
      }
      await sleep(clock, backoffMs(clock, failures), options.signal);
    }
  }
}

/** Whether it was lost, which is not what resigning is. */
function isLost(leadership: Leadership): boolean {
  return !leadership.isHeld() && leadership.signal.aborted;
}

function oldest(entries: Iterable<Entry>): Entry | undefined {
  let first: Entry | undefined;
  for (const entry of entries) {
    if (first === undefined || entry.created < first.created) first = entry;
  }
  return first;
}

function leaderOf({ key, value, created }: Entry): Leader {
  return { value: decode(value), token: tokenOf(created), key };
}
