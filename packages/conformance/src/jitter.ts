import {
  type Backend,
  type Clock,
  CoordinationError,
  seededRandom,
  sleep,
  type Watch,
  type WatchBatch,
} from "@conclave/core/backend";
import { type Call, type Interceptor, intercepted } from "./intercepted.ts";

/** How bad it is to be. */
export interface JitterOptions {
  /** The longest ordinary delay before a call and before its answer, in milliseconds of the backend's clock; 10 when absent. */
  readonly delayMs?: number | undefined;
  /** The share of mutations that meet a fault, from 0 to 1; a tenth when absent. */
  readonly faults?: number | undefined;
  /** The share of batches before which a watch reports a gap; a fiftieth when absent. */
  readonly gaps?: number | undefined;
}

/** What was done to the calls of a process. */
export interface Injected {
  /** Calls and answers that were delayed. */
  readonly delays: number;
  /** Mutations that were answered ten times as late. */
  readonly late: number;
  /** Mutations that were applied, and rejected with `OUTCOME_UNKNOWN`. */
  readonly lostAnswers: number;
  /** Mutations that were not applied, and rejected with `OUTCOME_UNKNOWN`. */
  readonly lostCalls: number;
  /** Mutations that were not applied, and rejected with `UNAVAILABLE`. */
  readonly refusals: number;
  /** Watch batches that were delayed. */
  readonly lateBatches: number;
  /** Gaps that watches reported, although nothing was missed. */
  readonly gaps: number;
}

/** A backend that behaves as badly as the contract allows. */
export interface JitteredBackend extends Backend {
  /** How often it did so far; a test puts a floor under it, lest it pass for want of trouble. */
  readonly injected: Injected;
}

/**
 * Delays the calls, answers and watch batches of a process, and fails a share of its mutations in every way in which
 * the contract lets them fail. The seed decides what happens to which call. A grant whose answer is lost leaves a lease
 * that nobody holds, which expires.
 */
export function jitter(backend: Backend, seed: number, options: JitterOptions = {}): JitteredBackend {
  const interceptor = new Jitter(backend.clock, seed, options);
  return Object.assign(intercepted(backend, interceptor), { injected: interceptor.injected });
}

type Counters = { -readonly [Kind in keyof Injected]: Injected[Kind] };

class Jitter implements Interceptor {
  readonly injected: Counters = {
    delays: 0,
    late: 0,
    lostAnswers: 0,
    lostCalls: 0,
    refusals: 0,
    lateBatches: 0,
    gaps: 0,
  };
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #delayMs: number;
  readonly #faults: number;
  readonly #gaps: number;

  constructor(clock: Clock, seed: number, { delayMs = 10, faults = 0.1, gaps = 0.02 }: JitterOptions) {
    this.#clock = clock;
    this.#random = seededRandom(seed);
    this.#delayMs = delayMs;
    this.#faults = faults;
    this.#gaps = gaps;
  }

  async call<T>(call: Call, send: () => Promise<T>): Promise<T> {
    const fault = this.#fault(call);
    // Until it is sent, a mutation too is given up at once.
    await this.#delay(call, call.signal);
    if (fault === "refusal") {
      this.injected.refusals += 1;
      throw new CoordinationError("UNAVAILABLE", `jitter refused a ${call.kind}: it was not applied`);
    }
    if (fault === "lost call") {
      this.injected.lostCalls += 1;
      throw new CoordinationError("OUTCOME_UNKNOWN", `jitter lost a ${call.kind} on its way to the store`);
    }
    const answer = await send();
    if (fault === "late") this.injected.late += 1;
    await this.#delay(call, call.mutates ? undefined : call.signal, fault === "late" ? 10 : 1);
    if (fault === "lost answer") {
      this.injected.lostAnswers += 1;
      throw new CoordinationError("OUTCOME_UNKNOWN", `jitter lost the answer to a ${call.kind}`);
    }
    return answer;
  }

  watch(watch: Watch, signal: AbortSignal | undefined): Watch {
    let ended = false;
    const batches = async function* (jitter: Jitter): AsyncGenerator<WatchBatch, void, undefined> {
      for await (const batch of watch) {
        const delayMs = jitter.#ordinaryDelayMs();
        if (delayMs > 0) {
          jitter.injected.lateBatches += 1;
          await sleep(jitter.#clock, delayMs, signal);
        }
        const gap = jitter.#random() < jitter.#gaps;
        if (ended) return;
        if (gap) {
          jitter.injected.gaps += 1;
          yield { gap: true };
        }
        yield batch;
      }
    };
    return {
      [Symbol.asyncIterator]: () => batches(this),
      [Symbol.asyncDispose]: async () => {
        ended = true;
        await watch[Symbol.asyncDispose]();
      },
    };
  }

  #fault(call: Call): "refusal" | "lost call" | "lost answer" | "late" | undefined {
    if (!call.mutates || this.#random() >= this.#faults) return undefined;
    const chance = this.#random();
    if (chance < 0.25) return "refusal";
    if (chance < 0.5) return "lost call";
    return chance < 0.8 ? "lost answer" : "late";
  }

  /** Half of all calls are not delayed at all, so that some overtake others. */
  #ordinaryDelayMs(): number {
    const chance = this.#random();
    return chance < 0.5 ? 0 : (2 * chance - 1) * this.#delayMs;
  }

  async #delay({ timeoutMs }: Call, signal: AbortSignal | undefined, factor = 1): Promise<void> {
    const delayMs = factor * (factor > 1 ? this.#delayMs : this.#ordinaryDelayMs());
    if (delayMs === 0) return;
    this.injected.delays += 1;
    // A quarter of the deadline, so that what is within its deadline without jitter is so with it.
    await sleep(this.#clock, Math.min(delayMs, (timeoutMs ?? Number.POSITIVE_INFINITY) / 4), signal);
  }
}
