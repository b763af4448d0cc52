import {
  type Backend,
  type Clock,
  CoordinationError,
  type KV,
  seededRandom,
  sleep,
  type Watch,
} from "@conclave/core/backend";
import type { Scene } from "../context.ts";
import { type Call, type Interceptor, intercepted } from "../intercepted.ts";
import { type Process, start } from "./process.ts";

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

/** A store whose answer to the next write is lost, and that others write to before the write can be sent again. */
export class LostAnswer implements Interceptor {
  readonly backend: Backend;
  #meanwhile: (() => Promise<unknown>) | undefined;

  constructor(backend: Backend) {
    this.backend = intercepted(backend, this);
  }

  /** Loses the next answer, and does this before it tells. */
  loseNext(meanwhile: () => Promise<unknown>): void {
    this.#meanwhile = meanwhile;
  }

  async call<T>({ kind, mutates }: Call, send: () => Promise<T>): Promise<T> {
    const meanwhile = this.#meanwhile;
    if (meanwhile === undefined || kind !== "commit" || !mutates) return send();
    this.#meanwhile = undefined;
    await send();
    await meanwhile();
    throw new CoordinationError("OUTCOME_UNKNOWN", "the answer to a commit was lost");
  }

  watch(watch: Watch): Watch {
    return watch;
  }
}

/** A process whose answers a test can have lost. */
export async function startForgetful(scene: Scene): Promise<Process & { readonly answers: LostAnswer }> {
  const made: LostAnswer[] = [];
  const process = await start(scene, {}, (backend) => {
    const answers = new LostAnswer(backend);
    made.push(answers);
    return answers.backend;
  });
  return { ...process, answers: made[0] as LostAnswer };
}
