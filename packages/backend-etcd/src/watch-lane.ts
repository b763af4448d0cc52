import { type Clock, CoordinationError } from "@conclave/core/backend";
import type { IWatchRequest, IWatchResponse } from "etcd3";
import type { Credentials } from "./credentials.ts";
import type { Endpoints } from "./endpoints.ts";
import { LastingStream } from "./lasting-stream.ts";
import { saysStaleToken } from "./outcome.ts";
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
  readonly #credentials: Credentials | undefined;
  readonly #clock: Clock;
  readonly #options: LaneOptions;
  readonly #stream: LastingStream<IWatchRequest, IWatchResponse>;
  readonly #subscriptions = new Set<Subscription>();
  /** What the server was asked to create on this stream; it answers in that order, failed creations too. */
  #creating: Subscription[] = [];
  readonly #byId = new Map<string, Subscription>();
  #heardMs = 0;
  /** When the server was last asked for something it has not answered. */
  #askedMs: number | undefined;
  #patienceMs = patienceMs;
  #timer: Disposable | undefined;

  constructor(endpoints: Endpoints, clock: Clock, options: LaneOptions) {
    this.#credentials = endpoints.credentials;
    this.#clock = clock;
    this.#options = options;
    this.#stream = new LastingStream(endpoints, watchRpc, {
      wanted: () => this.#subscriptions.size > 0,
      opened: () => {
        this.#heardMs = clock.monotonicMs();
        for (const subscription of this.#subscriptions) this.#create(subscription);
        this.#watchOver();
      },
      heard: (response) => this.#heard(response),
      lost: () => {
        this.#timer?.[Symbol.dispose]();
        this.#askedMs = undefined;
        this.#creating = [];
        this.#byId.clear();
      },
      refused: (error) => {
        for (const subscription of [...this.#subscriptions]) subscription.fail(error);
      },
    });
  }

  /** Why there is no stream just now. */
  get lastFailure(): unknown {
    return this.#stream.lastFailure;
  }

  add(subscription: Subscription): void {
    this.#subscriptions.add(subscription);
    if (this.#stream.isOpen) this.#create(subscription);
    else void this.#stream.open();
  }

  /** Forgets a watch, here and on the server; every watch that ends comes by here. */
  remove(subscription: Subscription): void {
    if (!this.#subscriptions.delete(subscription)) return;
    for (const [id, one] of this.#byId) if (one === subscription) this.#cancel(id);
    if (this.#subscriptions.size === 0 && this.#options.own) this.close();
  }

  /** For good. */
  close(): void {
    this.#stream.close();
  }

  #create(subscription: Subscription): void {
    this.#askedMs ??= this.#clock.monotonicMs();
    this.#creating.push(subscription);
    this.#stream.write({ create_request: subscription.request() });
  }

  #cancel(id: string): void {
    this.#byId.delete(id);
    this.#stream.write({ cancel_request: { watch_id: id } });
  }

  #heard(response: IWatchResponse): void {
    this.#heardMs = this.#clock.monotonicMs();
    const revision = BigInt(response.header.revision);
    if (response.created) {
      this.#created(response, revision);
      return;
    }
    this.#patienceMs = patienceMs;
    if (this.#creating.length === 0) this.#askedMs = undefined;
    // Late news of a watch that was cancelled, and the sign of life that we asked for, belong to no watch.
    const subscription = this.#byId.get(response.watch_id);
    if (subscription === undefined) return;
    if (response.canceled) {
      this.#byId.delete(response.watch_id);
      if (response.compact_revision === "0") this.#refused(subscription, response.cancel_reason);
      else {
        subscription.compacted();
        this.#create(subscription);
      }
    } else if (response.events.length === 0) subscription.progressed(revision);
    else this.#take(subscription, response);
  }

  #created(response: IWatchResponse, revision: bigint): void {
    const subscription = this.#creating.shift();
    // The next in line has its time from now.
    this.#askedMs = this.#creating.length > 0 ? this.#clock.monotonicMs() : undefined;
    this.#stream.worked();
    if (subscription === undefined) return;
    if (!this.#subscriptions.has(subscription)) {
      if (!response.canceled) this.#cancel(response.watch_id);
    } else if (response.canceled) this.#refused(subscription, response.cancel_reason);
    else {
      this.#byId.set(response.watch_id, subscription);
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
  #refused(subscription: Subscription, reason: string): void {
    const denied = /permission denied/.test(reason);
    // Servers before 3.5 call an expired login "permission denied" too.
    const maybeStale = saysStaleToken(reason) || (denied && this.#credentials !== undefined);
    if (maybeStale && this.#credentials && ++subscription.refusals < refusalsToBelieve) {
      this.#stream.drop(new Error(reason), "login");
      return;
    }
    const code = denied || maybeStale ? "DENIED" : "UNAVAILABLE";
    subscription.fail(new CoordinationError(code, `etcd refused the watch: ${reason || "no reason given"}`));
  }

  /** A dead connection, or a server that stands still, says nothing: so silence is broken by asking. */
  #watchOver(): void {
    this.#timer = this.#clock.after(tickMs, () => {
      const nowMs = this.#clock.monotonicMs();
      if (this.#askedMs !== undefined && nowMs - this.#askedMs > this.#patienceMs) {
        this.#patienceMs = Math.min(this.#patienceMs * 2, longestPatienceMs);
        this.#stream.drop(new Error("etcd fell silent on a watch stream"));
        return;
      }
      const idle = nowMs - this.#heardMs > idleMs && this.#subscriptions.size > 0;
      if (idle && this.#askedMs === undefined) {
        this.#askedMs = nowMs;
        this.#stream.write({ progress_request: {} });
      }
      this.#watchOver();
    });
  }
}
