import { type CallOptions, type Clock, CoordinationError, isCoordinationError, onAbort } from "@conclave/core/backend";
import type { ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from "etcd3";
import type { Endpoints, OpenStream } from "./endpoints.ts";
import type { Settings } from "./options.ts";
import { failureOf, isPassing, isStaleToken, isUnsent } from "./outcome.ts";

const keepAlive = { service: "Lease", method: "leaseKeepAlive", effect: "repeatable" } as const;
const longestAckMs = 2_000;

/** A renewal somebody waits for. It may be sent on several streams in turn, since renewing twice does no harm. */
interface Renewal {
  readonly id: string;
  readonly ttlMs: number;
  /** An earlier stream may have brought it to the server. */
  sent: boolean;
  settle(outcome: number | Error): void;
}

type Stream = OpenStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>;

/** One stream and what was sent on it. What a stream says after its successor was opened is ignored. */
interface Generation {
  readonly open: Stream;
  /** The server answers in the order in which it was asked. */
  readonly unanswered: { readonly renewal: Renewal; readonly timer: Disposable }[];
}

/**
 * The keep-alives of all leases of one client, over one stream. A stream that ends, breaks or leaves a renewal without
 * an answer for a quarter of its lease's life is replaced, at another member if there is one.
 */
export class Renewals {
  readonly #endpoints: Endpoints;
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;
  readonly #waiting = new Set<Renewal>();
  #generation: Generation | undefined;
  #opening = false;
  #lastFailure: unknown;

  constructor(endpoints: Endpoints, settings: Settings) {
    this.#endpoints = endpoints;
    this.#clock = settings.clock;
    this.#callTimeoutMs = settings.callTimeoutMs;
    endpoints.closed.addEventListener("abort", () => {
      this.#generation?.open.stream.cancel();
      this.#failAll(endpoints.closed.reason);
    });
  }

  /** Renews once. An abort or a deadline rejects at once, whatever becomes of what was sent. */
  renew(id: bigint, ttlMs: number, options: CallOptions = {}): Promise<number> {
    const { signal, timeoutMs = this.#callTimeoutMs } = options;
    return new Promise((resolve, reject) => {
      const renewal: Renewal = {
        id: String(id),
        ttlMs,
        sent: false,
        settle: (outcome) => {
          if (!this.#waiting.delete(renewal)) return;
          timer[Symbol.dispose]();
          link[Symbol.dispose]();
          if (typeof outcome === "number") resolve(outcome);
          else reject(outcome);
        },
      };
      const timer = this.#clock.after(timeoutMs, () => renewal.settle(this.#late(renewal)));
      const link = onAbort(signal, () => renewal.settle(signal?.reason));
      this.#waiting.add(renewal);
      if (this.#generation) this.#send(this.#generation, renewal);
      else void this.#reopen();
    });
  }

  #late(renewal: Renewal): Error {
    const underWay = this.#generation?.unanswered.some((one) => one.renewal === renewal);
    return new CoordinationError(
      renewal.sent || underWay ? "OUTCOME_UNKNOWN" : "UNAVAILABLE",
      "etcd did not answer a keep-alive in time",
      { cause: this.#lastFailure },
    );
  }

  #failAll(error: Error): void {
    for (const renewal of [...this.#waiting]) renewal.settle(error);
  }

  async #reopen(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    let open: Stream | undefined;
    try {
      open = await this.#endpoints.open(keepAlive, this.#endpoints.closed);
    } catch (error) {
      this.#lastFailure = error;
      if (!isCoordinationError(error, "UNAVAILABLE")) this.#failAll(error as Error);
    }
    this.#opening = false;
    if (this.#endpoints.closed.aborted) open?.stream.cancel();
    else if (open) this.#use({ open, unanswered: [] });
    else if (this.#waiting.size > 0) void this.#reopen();
  }

  #use(generation: Generation): void {
    this.#generation = generation;
    const { stream } = generation.open;
    stream.on("data", (response) => {
      if (generation === this.#generation) this.#answered(generation, response);
    });
    stream.on("status", ({ code, details }) => {
      this.#drop(generation, Object.assign(new Error(details), { code, details }));
    });
    for (const renewal of this.#waiting) this.#send(generation, renewal);
  }

  #send(generation: Generation, renewal: Renewal): void {
    const timer = this.#clock.after(Math.min(renewal.ttlMs / 4, longestAckMs), () => {
      this.#drop(generation, new Error("a keep-alive was not acknowledged"));
    });
    generation.unanswered.push({ renewal, timer });
    generation.open.stream.write({ ID: renewal.id });
  }

  #answered(generation: Generation, { ID, TTL }: ILeaseKeepAliveResponse): void {
    const head = generation.unanswered.shift();
    head?.timer[Symbol.dispose]();
    if (head?.renewal.id !== ID) {
      this.#drop(generation, new Error("a keep-alive was answered out of turn"));
      return;
    }
    generation.open.worked();
    head.renewal.settle(
      TTL === "0"
        ? new CoordinationError("LEASE_LOST", "etcd says that the lease has expired or was revoked")
        : Number(TTL) * 1_000,
    );
  }

  #drop(generation: Generation, failure: Error): void {
    if (generation !== this.#generation) return;
    this.#generation = undefined;
    this.#lastFailure = failure;
    for (const { renewal, timer } of generation.unanswered) {
      timer[Symbol.dispose]();
      renewal.sent ||= !isUnsent(failure);
    }
    generation.open.stream.cancel();
    generation.open.failed();
    if (isStaleToken(failure)) this.#endpoints.credentials?.refused(generation.open.token);
    else if ("code" in failure && failure.code !== 0 && !isPassing(failure)) {
      this.#failAll(failureOf(failure, keepAlive, false));
    }
    if (this.#waiting.size > 0) void this.#reopen();
  }
}
