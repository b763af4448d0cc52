import { backoffMs } from "../../backoff.ts";
import type { Context } from "../../context.ts";
import type { Json } from "../../json.ts";
import { elapsedMs, instant } from "../../ports/clock.ts";
import type { Entry } from "../../ports/kv.ts";
import { isForNow, settle } from "../../settle.ts";
import { abortable, linkSignals, sleep } from "../../signals.ts";
import { type Claimed, Job } from "./job.ts";
import { Chores } from "./queue-chores.ts";
import { indexOf, type QueueIndex } from "./queue-index.ts";
import { type Claim, encodeRecord, type Item, type Meta, payloadOf, type QueueKeys, recordOf } from "./queue-item.ts";
import type { Overdue } from "./queue-shelf.ts";

/** How many jobs one commit claims: of each it writes the claim and the item, and reads the payload. */
export const jobsPerClaim = 33;

/** What a queue was told of deliveries. */
export interface Deliveries {
  readonly maxDeliveries: number;
  readonly visibilityMs: number | undefined;
}

/**
 * How jobs are claimed:
 *
 *   1. look in the live index for what is due and unclaimed: by priority, then in the order in which it came;
 *   2. with none, wait for news, or until something delayed is due; where others compete, wait a moment more and look
 *      again (see `crowd.ts`);
 *   3. pick the first, or in a crowd any of the first few;
 *   4. in one commit, if the item is unchanged and unclaimed, claim it on our session's lease, count the delivery, and
 *      read the payload; when another was faster, go to 1.
 *
 * What was delivered as often as it may be is moved to the dead letters instead, and a claim that is overdue is removed,
 * so that its item can be claimed (see `queue-chores.ts`). That everyone races for another item than the first, and only
 * after a look at a local copy, keeps the head of the queue from becoming the bottleneck that it is in the ZooKeeper
 * recipes, where every consumer tries every item in turn.
 */
export class Claims {
  readonly #context: Context;
  readonly #keys: QueueKeys;
  readonly #deliveries: Deliveries;
  readonly #chores: Chores;

  constructor(context: Context, keys: QueueKeys, deliveries: Deliveries) {
    this.#context = context;
    this.#keys = keys;
    this.#deliveries = deliveries;
    this.#chores = new Chores(context, keys);
  }

  /** Waits for a job, and takes up to so many. It holds nothing meanwhile, so an outage or a lost session only delays it. */
  async wait(atMost: number, signal: AbortSignal | undefined): Promise<readonly Job[]> {
    const { backend, closed } = this.#context;
    using linked = linkSignals(signal, closed);
    using _ = await this.#index.open(linked.signal);
    for (let failures = 0; ; ) {
      try {
        const jobs = await this.#next(atMost, linked.signal);
        if (jobs.length > 0) return jobs;
        failures = 0;
      } catch (error) {
        linked.signal.throwIfAborted();
        if (!isForNow(error)) throw error;
        failures += 1;
        await sleep(backend.clock, backoffMs(backend.clock, failures), linked.signal);
      }
    }
  }

  /** Takes up to so many that are due; with none, waits for news, and gives none. */
  async #next(atMost: number, signal: AbortSignal): Promise<readonly Job[]> {
    const before = this.#index.changes;
    // Opened anew, should it have failed meanwhile.
    using _ = await this.#index.open(signal);
    const jobs = await this.#try(atMost, signal, () => this.#index.due(atMost + this.#spread));
    if (jobs.length === 0) await this.#index.changed(before, signal);
    return jobs;
  }

  /** Takes a job if one is due; asks the store before it says that there is none. */
  async now(signal: AbortSignal | undefined): Promise<Job | undefined> {
    const { backend, closed } = this.#context;
    using linked = linkSignals(signal, closed);
    using _ = await this.#index.open(linked.signal);
    const [job] = await this.#try(1, linked.signal, () => this.#index.due(1 + this.#spread));
    if (job) return job;
    for (;;) {
      const { entries } = await backend.kv.list(this.#keys.index, { signal: linked.signal });
      const look = () => this.#index.dueIn(entries, 1 + this.#spread);
      if (look().length === 0) return undefined;
      const [job] = await this.#try(1, linked.signal, look);
      if (job) return job;
    }
  }

  get #index(): QueueIndex {
    return indexOf(this.#context, this.#keys);
  }

  get #spread(): number {
    return this.#index.claimants.spread;
  }

  /** Tries until it has something, or nothing is due. */
  async #try(atMost: number, signal: AbortSignal, look: () => readonly (Item | Overdue)[]): Promise<readonly Job[]> {
    const { claimants } = this.#index;
    const { clock } = this.#context.backend;
    for (;;) {
      let due = look();
      const pauseMs = due.length === 0 ? 0 : claimants.pauseMs(due.length);
      if (pauseMs > 0) {
        await sleep(clock, pauseMs, signal);
        due = look();
      }
      if (due.length === 0) return [];
      signal.throwIfAborted();
      const sentAt = instant(clock);
      const jobs = await this.#takeFrom(due.slice(claimants.pick(due.length)), atMost, signal);
      if (jobs === undefined) claimants.lost(elapsedMs(clock, sentAt));
      else if (jobs.length > 0) {
        claimants.won(elapsedMs(clock, sentAt));
        return jobs;
      }
    }
  }

  /** Claims the first of them, and those after it; undefined if others were faster, none if there was other work to do. */
  async #takeFrom(
    due: readonly (Item | Overdue)[],
    atMost: number,
    signal: AbortSignal,
  ): Promise<readonly Job[] | undefined> {
    const [first] = due as [Item | Overdue];
    if ("claim" in first) return (await this.#chores.free(first)) ? [] : undefined;
    if (!this.#isDeliverable(first)) return (await this.#chores.bury(first)) ? [] : undefined;
    const chosen: Item[] = [];
    let bytes = 0;
    for (const item of due) {
      if ("claim" in item || !this.#isDeliverable(item)) continue;
      bytes += item.meta.bytes;
      // The answer holds all the payloads.
      if (chosen.length > 0 && bytes > this.#context.backend.limits.maxTxnBytes) break;
      if (chosen.push(item) === atMost) break;
    }
    return this.#claim(chosen, signal);
  }

  #isDeliverable({ meta, corrupt }: Item): boolean {
    return !corrupt && meta.deliveries < this.#deliveries.maxDeliveries;
  }

  async #claim(items: readonly Item[], signal: AbortSignal): Promise<readonly Job[] | undefined> {
    const session = await this.#context.sessions.current({ signal });
    signal.throwIfAborted();
    const undo = items.map(({ id, modified }) => this.#index.pass(this.#keys.item(id), modified));
    const sending = this.#send(items, session);
    try {
      const { taken, untouched } = await abortable(sending, signal);
      // Of several, one that somebody else has is no reason to pass over the others.
      for (const index of untouched) undo[index]?.();
      return taken && (await this.#deliver(taken));
    } catch (error) {
      for (const one of undo) one();
      // What was sent is settled, and what it then holds is given back.
      void sending.then(
        ({ taken }) => taken?.forEach(({ claimed }) => void this.#chores.giveBack(claimed)),
        () => {},
      );
      throw error;
    }
  }

  async #send(items: readonly Item[], session: Claimed["place"]["session"]) {
    const { kv, clock } = this.#context.backend;
    const keys = this.#keys;
    const { visibilityMs, maxDeliveries } = this.#deliveries;
    const since = instant(clock);
    const untilMs = visibilityMs === undefined ? undefined : since.wallMs + visibilityMs;
    const claim: Claim = { attempt: clock.id(), owner: this.#context.owner, untilMs };
    const value = encodeRecord(claim);
    const counted = items.map(({ meta }): Meta => ({ ...meta, deliveries: meta.deliveries + 1 }));
    const payloads = items.map(({ id }) => ({ get: keys.data(id) }));
    const txn = {
      if: items.flatMap(({ id, modified }) => [
        { key: keys.item(id), modified },
        { key: keys.claim(id), exists: false },
      ]),
      then: [
        ...payloads,
        ...items.flatMap(({ id }, index) => [
          { put: keys.claim(id), value, lease: session.lease },
          { put: keys.item(id), value: encodeRecord(counted[index] as Meta) },
        ]),
      ],
      // Our own claims: an earlier sending of this commit was applied.
      else: [
        ...payloads,
        ...items.map(({ id }) => ({ get: keys.claim(id) })),
        ...items.map(({ id }) => ({ get: keys.item(id) })),
      ],
    };
    const commit = await settle(clock, session.signal, () => kv.commit(txn, { signal: session.signal }));
    const results = commit.results as readonly (Entry | undefined)[];
    const claims = commit.succeeded ? [] : results.slice(items.length, 2 * items.length);
    const isOurs = (entry: Entry | undefined) => entry && recordOf<Claim>(entry.value)?.attempt === claim.attempt;
    // Of what an earlier sending claimed, somebody may have taken some away by now: the others are ours all the same.
    const ours = [...items.keys()].filter((index) => commit.succeeded || isOurs(claims[index]));
    if (ours.length === 0) {
      const now = results.slice(2 * items.length);
      const untouched = [...items.keys()].filter(
        (index) => claims[index] === undefined && now[index]?.modified === items[index]?.modified,
      );
      return { taken: undefined, untouched };
    }
    const taken = ours.map((index) => {
      const { id } = items[index] as Item;
      const created = claims[index]?.created ?? commit.revision;
      const place = { session, keys: [keys.claim(id)], created, resent: false };
      const meta = counted[index] as Meta;
      const claimed: Claimed = {
        context: this.#context,
        keys,
        maxDeliveries,
        place,
        id,
        meta,
        claim,
        since,
        visibilityMs,
      };
      return { claimed, payload: payloadOf(results[index]) };
    });
    return { taken, untouched: [] };
  }

  /** Makes jobs of what was claimed; what has no payload that can be read is a dead letter. */
  async #deliver(
    all: readonly { readonly claimed: Claimed; readonly payload: { readonly value: Json } | undefined }[],
  ): Promise<readonly Job[]> {
    for (const { claimed, payload } of all) if (!payload) await this.#chores.buryClaimed(claimed);
    return all.flatMap(({ claimed, payload }) => (payload ? [new Job(claimed, payload.value)] : []));
  }
}
