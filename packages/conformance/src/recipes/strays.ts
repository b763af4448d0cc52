import {
  type Backend,
  type Clock,
  CoordinationError,
  type KV,
  seededRandom,
  sleep,
  type Watch,
} from "@conclave/core/backend";
import { type Call, type Interceptor, intercepted } from "../intercepted.ts";

/**
 * A store that a share of all writes reaches only after they were given up: each is answered by `OUTCOME_UNKNOWN` at once,
 * and applied a while later, unless its conditions fail by then. Whoever sends a write again must reckon with the first.
 */
export class Strays implements Interceptor {
  /** How many arrived. */
  arrived = 0;
  readonly backend: Backend;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #longestMs: number;

  constructor(backend: Backend, seed: number, longestMs: number) {
    const { kv } = backend;
    // What is under way no longer hears that its caller gave up.
    const commit: KV["commit"] = (txn, options) => kv.commit(txn, { ...options, signal: undefined });
    this.backend = intercepted({ ...backend, kv: { ...kv, commit } }, this);
    this.#clock = backend.clock;
    this.#random = seededRandom(seed);
    this.#longestMs = longestMs;
  }

  async call<T>({ kind, mutates }: Call, send: () => Promise<T>): Promise<T> {
    if (kind !== "commit" || !mutates || this.#random() >= 0.2) return send();
    const delayMs = this.#random() * this.#longestMs;
    const stray = sleep(this.#clock, delayMs).then(send);
    stray.then(
      () => {
        this.arrived += 1;
      },
      () => {},
    );
    throw new CoordinationError("OUTCOME_UNKNOWN", "a commit went astray");
  }

  watch(watch: Watch): Watch {
    return watch;
  }
}
