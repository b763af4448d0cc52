import { type Clock, CoordinationError, isCoordinationError } from "@conclave/core/backend";
import type { IWatchRequest, IWatchResponse } from "etcd3";
import type { Endpoints, OpenStream } from "./endpoints.ts";
import { failureOf, isPassing, isStaleToken, saysStaleToken } from "./outcome.ts";
import type { Subscription } from "./subscription.ts";

const watchRpc = { service: "Watch", method: "watch", effect: "read" } as const;
const tickMs = 500;
/** An idle stream is asked for a sign of life after this long. */
const idleMs = 2_500;
/** How long the server may take over a sign of life, or over creating a watch. */
const patienceMs = 2_000;
/** It grows to this while the server stays silent: one that reads a long history for us must come to an end with it. */
const longestPatienceMs = 16_000;
const refusalsToBelieve = 2;

type Stream = OpenStream<IWatchRequest, IWatchResponse>;

/** One stream and what the server knows on it. What a stream says after its successor was opened is ignored. */
interface Generation {
  readonly open: Stream;
  /** The server answers creations in the order in which it was asked, failed ones too. */
  readonly creating: Subscription[];
  readonly byId: Map<string, Subscription>;
  heardMs: number;
  /** When the server was last asked for something it has not answered. */
  askedMs: number | undefined;
}

export interface LaneOptions {
  /** For one watch with a slow reader: the stream ends with it, and so does what the server was about to send. */
  readonly own: boolean;
  /** Takes over a watch that was removed because its reader is slow. */
  readonly onBehind: (subscription: Subscription) => void;
}

/**
 * Several watches over one stream, and over its successors: when a stream ends, breaks or falls silent, all are created
 * anew from their cursors.
 */
export class WatchLane {
  readonly #endpoints: Endpoints;
  readonly #clock: Clock;
  readonly #options: LaneOptions;
  readonly #subscriptions = new Set<Subscription>();
  #generation: Generation | undefined;
  #opening = false;
  #patienceMs = patienceMs;
  #timer: Disposable | undefined;
  /** Why there is no stream just now. */
  lastFailure: unknown;

  constructor(endpoints: Endpoints, clock: Clock, options: LaneOptions) {
    this.#endpoints = endpoints;
    this.#clock = clock;
    this.#options = options;
  }

  add(subscription: Subscription): void {
    this.#subscriptions.add(subscription);
    if (this.#generation) this.#create(this.#generation, subscription);
    else void this.#reopen();
  }

  /** Forgets a watch, here and on the server; every watch that ends comes by here. */
  remove(subscription: Subscription): void {
    if (!this.#subscriptions.delete(subscription)) return;
    const generation = this.#generation;
    for (const [id, one] of generation?.byId ?? []) {
      if (one === subscription) this.#cancel(generation as Generation, id);
    }
    if (this.#subscriptions.size === 0 && this.#options.own) this.close();
  }

  close(): void {
    this.#timer?.[Symbol.dispose]();
    this.#generation?.open.stream.cancel();
    this.#generation = undefined;
  }

  async #reopen(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    let open: Stream | undefined;
    try {
      open = await this.#endpoints.open(watchRpc, this.#endpoints.closed);
    } catch (error) {
      this.lastFailure = error;
      if (!isCoordinationError(error, "UNAVAILABLE")) this.#failAll(error);
    }
    this.#opening = false;
    if (this.#endpoints.closed.aborted || this.#subscriptions.size === 0) open?.stream.cancel();
    else if (open) this.#use(open);
    else void this.#reopen();
  }

  #use(open: Stream): void {
    const generation: Generation = {
      open,
      creating: [],
      byId: new Map(),
      heardMs: this.#clock.monotonicMs(),
      askedMs: undefined,
    };
    this.#generation = generation;
    open.stream.on("data", (response) => {
      if (generation === this.#generation) this.#heard(generation, response);
    });
    open.stream.on("status", ({ code, details }) => {
      this.#drop(generation, Object.assign(new Error(details), { code, details }));
    });
    for (const subscription of this.#subscriptions) this.#create(generation, subscription);
    this.#watchOver(generation);
  }

  #create(generation: Generation, subscription: Subscription): void {
    generation.askedMs ??= this.#clock.monotonicMs();
    generation.creating.push(subscription);
    generation.open.stream.write({ create_request: subscription.request() });
  }

  #cancel(generation: Generation, id: string): void {
    generation.byId.delete(id);
    generation.open.stream.write({ cancel_request: { watch_id: id } });
  }

  #heard(generation: Generation, response: IWatchResponse): void {
    generation.heardMs = this.#clock.monotonicMs();
    const revision = BigInt(response.header.revision);
    if (response.created) {
      this.#created(generation, response, revision);
      return;
    }
    this.#patienceMs = patienceMs;
    if (generation.creating.length === 0) generation.askedMs = undefined;
    // Late news of a watch that was cancelled, and the sign of life that we asked for, belong to no watch.
    const subscription = generation.byId.get(response.watch_id);
    if (subscription === undefined) return;
    if (response.canceled) {
      generation.byId.delete(response.watch_id);
      if (response.compact_revision === "0") this.#refused(generation, subscription, response.cancel_reason);
      else {
        subscription.compacted();
        this.#create(generation, subscription);
      }
    } else if (response.events.length === 0) subscription.progressed(revision);
    else this.#take(subscription, response);
  }

  #created(generation: Generation, response: IWatchResponse, revision: bigint): void {
    const subscription = generation.creating.shift();
    // The next in line has its time from now.
    generation.askedMs = generation.creating.length > 0 ? this.#clock.monotonicMs() : undefined;
    generation.open.worked();
    if (subscription === undefined) return;
    if (!this.#subscriptions.has(subscription)) {
      if (!response.canceled) this.#cancel(generation, response.watch_id);
    } else if (response.canceled) this.#refused(generation, subscription, response.cancel_reason);
    else {
      generation.byId.set(response.watch_id, subscription);
      subscription.created(revision);
    }
  }

  #take(subscription: Subscription, { events, fragment }: IWatchResponse): void {
    // Found behind now, the reader had time since the last message.
    const isBehind = subscription.isBehind;
    // What is dropped here is asked for again, which on a stream of its own would mean to send it twice for nothing.
    if (!isBehind || this.#options.own) subscription.take(events, fragment);
    if (!isBehind) return;
    this.remove(subscription);
    this.#options.onBehind(subscription);
  }

  /** The server would not watch, or no longer. */
  #refused(generation: Generation, subscription: Subscription, reason: string): void {
    const denied = /permission denied/.test(reason);
    const { credentials } = this.#endpoints;
    // Servers before 3.5 call an expired login "permission denied" too.
    const maybeStale = saysStaleToken(reason) || (denied && credentials !== undefined);
    if (maybeStale && credentials && ++subscription.refusals < refusalsToBelieve) {
      credentials.refused(generation.open.token);
      this.#drop(generation, new Error(reason), { ofMember: false });
      return;
    }
    const code = denied || maybeStale ? "DENIED" : "UNAVAILABLE";
    subscription.fail(new CoordinationError(code, `etcd refused the watch: ${reason || "no reason given"}`));
  }

  #drop(generation: Generation, failure: Error, { ofMember = true } = {}): void {
    if (generation !== this.#generation) return;
    this.close();
    this.lastFailure = failure;
    if (ofMember) generation.open.failed();
    if (isStaleToken(failure)) this.#endpoints.credentials?.refused(generation.open.token);
    else if ("code" in failure && failure.code !== 0 && !isPassing(failure)) {
      this.#failAll(failureOf(failure, watchRpc, false));
    }
    if (this.#subscriptions.size > 0) void this.#reopen();
  }

  #failAll(error: unknown): void {
    for (const subscription of [...this.#subscriptions]) subscription.fail(error);
  }

  /** A dead connection, or a server that stands still, says nothing: so silence is broken by asking. */
  #watchOver(generation: Generation): void {
    this.#timer = this.#clock.after(tickMs, () => {
      const nowMs = this.#clock.monotonicMs();
      if (generation.askedMs !== undefined && nowMs - generation.askedMs > this.#patienceMs) {
        this.#patienceMs = Math.min(this.#patienceMs * 2, longestPatienceMs);
        this.#drop(generation, new Error("etcd fell silent on a watch stream"));
        return;
      }
      const idle = nowMs - generation.heardMs > idleMs && this.#subscriptions.size > 0;
      if (idle && generation.askedMs === undefined) {
        generation.askedMs = nowMs;
        generation.open.stream.write({ progress_request: {} });
      }
      this.#watchOver(generation);
    });
  }
}
