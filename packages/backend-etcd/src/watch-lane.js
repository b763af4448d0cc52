import { CoordinationError, isCoordinationError } from "@conclave/core/backend";
import { failureOf, isPassing, isStaleToken, saysStaleToken } from "./outcome.js";

const watchRpc = { service: "Watch", method: "watch", effect: "read" };
const tickMs = 1_000;
/** An idle stream is asked for a sign of life after this long. */
const idleMs = 5_000;
/** How long the server may take over a sign of life, or over creating a watch. */
const patienceMs = 3_000;
const refusalsToBelieve = 2;
/**
 * Several watches over one stream, and over its successors: when a stream ends, breaks or falls silent, all are created
 * anew from their cursors.
 */
export class WatchLane {
  #endpoints;
  #clock;
  #options;
  #subscriptions = new Set();
  #generation;
  #opening = false;
  #timer;
  /** Why there is no stream just now. */
  lastFailure;
  constructor(endpoints, clock, options) {
    this.#endpoints = endpoints;
    this.#clock = clock;
    this.#options = options;
  }
  add(subscription) {
    this.#subscriptions.add(subscription);
    if (this.#generation) this.#create(this.#generation, subscription);
    else void this.#reopen();
  }
  /** Forgets a watch, here and on the server. */
  remove(subscription) {
    if (!this.#subscriptions.delete(subscription)) return;
    const generation = this.#generation;
    for (const [id, one] of generation?.byId ?? []) {
      if (one === subscription) this.#cancel(generation, id);
    }
    if (this.#subscriptions.size === 0 && this.#options.pausing) this.close();
  }
  close() {
    this.#timer?.[Symbol.dispose]();
    this.#generation?.open.stream.cancel();
    this.#generation = undefined;
  }
  async #reopen() {
    if (this.#opening) return;
    this.#opening = true;
    let open;
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
  #use(open) {
    const generation = {
      open,
      creating: [],
      byId: new Map(),
      heardMs: this.#clock.monotonicMs(),
      askedMs: undefined,
      paused: false,
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
  #create(generation, subscription) {
    generation.askedMs ??= this.#clock.monotonicMs();
    generation.creating.push(subscription);
    generation.open.stream.write({ create_request: subscription.request() });
  }
  #cancel(generation, id) {
    generation.byId.delete(id);
    generation.open.stream.write({ cancel_request: { watch_id: id } });
  }
  #heard(generation, response) {
    generation.heardMs = this.#clock.monotonicMs();
    const revision = BigInt(response.header.revision);
    if (response.created) {
      this.#created(generation, response, revision);
      return;
    }
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
    else this.#take(generation, subscription, response);
  }
  #created(generation, response, revision) {
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
  #take(generation, subscription, { watch_id, events, fragment }) {
    if (subscription.isBehind && !this.#options.pausing) {
      this.#subscriptions.delete(subscription);
      this.#cancel(generation, watch_id);
      this.#options.onBehind(subscription);
      return;
    }
    subscription.take(events, fragment);
    if (!subscription.isBehind || !this.#options.pausing) return;
    generation.paused = true;
    generation.open.stream.pause();
    subscription.feed.drained = () => {
      generation.paused = false;
      generation.heardMs = this.#clock.monotonicMs();
      generation.open.stream.resume();
    };
  }
  /** The server would not watch, or no longer. */
  #refused(generation, subscription, reason) {
    const denied = /permission denied/.test(reason);
    const { credentials } = this.#endpoints;
    // Servers before 3.5 call an expired login "permission denied" too.
    const maybeStale = saysStaleToken(reason) || (denied && credentials !== undefined);
    if (maybeStale && credentials && ++subscription.refusals < refusalsToBelieve) {
      credentials.refused(generation.open.token);
      this.#drop(generation, new Error(reason), { ofMember: false });
      return;
    }
    this.#subscriptions.delete(subscription);
    const code = denied || maybeStale ? "DENIED" : "UNAVAILABLE";
    subscription.fail(new CoordinationError(code, `etcd refused the watch: ${reason || "no reason given"}`));
  }
  #drop(generation, failure, { ofMember = true } = {}) {
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
  #failAll(error) {
    const failed = [...this.#subscriptions];
    this.#subscriptions.clear();
    for (const subscription of failed) subscription.fail(error);
  }
  /** A dead connection, or a server that stands still, says nothing: so silence is broken by asking. */
  #watchOver(generation) {
    this.#timer = this.#clock.after(tickMs, () => {
      const nowMs = this.#clock.monotonicMs();
      if (generation.paused) generation.heardMs = nowMs;
      if (generation.askedMs !== undefined && nowMs - generation.askedMs > patienceMs) {
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
//# sourceMappingURL=watch-lane.js.map
