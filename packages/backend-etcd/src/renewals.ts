import { type CallOptions, type Clock, CoordinationError, onAbort } from "@conclave/core/backend";
import type { ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from "etcd3";
import type { Endpoints } from "./endpoints.ts";
import { LastingStream } from "./lasting-stream.ts";
import type { Settings } from "./options.ts";
import { isUnsent } from "./outcome.ts";

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

/**
 * The keep-alives of all leases of one client, over one stream. A stream that ends, breaks or leaves a renewal without
 * an answer for a quarter of its lease's life is replaced, at another member if there is one.
 */
export class Renewals {
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;
  readonly #stream: LastingStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>;
  readonly #waiting = new Set<Renewal>();
  /** What was sent on the stream there is. The server answers in the order in which it was asked. */
  readonly #unanswered: { readonly renewal: Renewal; readonly timer: Disposable }[] = [];

  constructor(endpoints: Endpoints, settings: Settings) {
    this.#clock = settings.clock;
    this.#callTimeoutMs = settings.callTimeoutMs;
    this.#stream = new LastingStream(endpoints, keepAlive, {
      wanted: () => this.#waiting.size > 0,
      opened: () => {
        for (const renewal of this.#waiting) this.#send(renewal);
      },
      heard: (response) => this.#answered(response),
      lost: (failure) => this.#lost(failure),
      refused: (error) => this.#failAll(error as Error),
    });
    endpoints.closed.addEventListener("abort", () => {
      this.#stream.close();
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
      if (this.#stream.isOpen) this.#send(renewal);
      else void this.#stream.open();
    });
  }

  #late(renewal: Renewal): Error {
    const underWay = this.#unanswered.some((one) => one.renewal === renewal);
    return new CoordinationError(
      renewal.sent || underWay ? "OUTCOME_UNKNOWN" : "UNAVAILABLE",
      "etcd did not answer a keep-alive in time",
      { cause: this.#stream.lastFailure },
    );
  }

  #failAll(error: Error): void {
    for (const renewal of [...this.#waiting]) renewal.settle(error);
  }

  #send(renewal: Renewal): void {
    const timer = this.#clock.after(Math.min(renewal.ttlMs / 4, longestAckMs), () => {
      this.#stream.drop(new Error("a keep-alive was not acknowledged"));
    });
    this.#unanswered.push({ renewal, timer });
    this.#stream.write({ ID: renewal.id });
  }

  #answered({ ID, TTL }: ILeaseKeepAliveResponse): void {
    const [head] = this.#unanswered;
    if (head?.renewal.id !== ID) {
      this.#stream.drop(new Error("a keep-alive was answered out of turn"));
      return;
    }
    this.#unanswered.shift();
    head.timer[Symbol.dispose]();
    this.#stream.worked();
    head.renewal.settle(
      TTL === "0"
        ? new CoordinationError("LEASE_LOST", "etcd says that the lease has expired or was revoked")
        : Number(TTL) * 1_000,
    );
  }

  #lost(failure: Error): void {
    for (const { renewal, timer } of this.#unanswered.splice(0)) {
      timer[Symbol.dispose]();
      renewal.sent ||= !isUnsent(failure);
    }
  }
}
