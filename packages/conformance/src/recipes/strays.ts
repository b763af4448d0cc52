import {
  type Backend,
  type Clock,
  CoordinationError,
  type KV,
  seededRandom,
  sleep,
  type Watch,
} from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene } from "../context.ts";
import { type Call, type Interceptor, intercepted } from "../intercepted.ts";
import { Link } from "./link.ts";
import { type Process, type ProcessOptions, start } from "./process.ts";

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
    this.backend = intercepted(undeterred(backend), this);
    this.#clock = backend.clock;
    this.#random = seededRandom(seed);
    this.#longestMs = longestMs;
  }

  async call<T>({ kind, mutates }: Call, send: () => Promise<T>): Promise<T> {
    if (kind !== "commit" || !mutates || this.#random() >= 0.3) return send();
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

/** A store that loses the next write, or the answer to it, when it is told to; others may do something before it tells. */
export class Forgetful implements Interceptor {
  readonly backend: Backend;
  #next: { readonly astray: boolean; readonly meanwhile: () => unknown } | undefined;
  #stray: (() => Promise<unknown>) | undefined;

  constructor(backend: Backend) {
    this.backend = intercepted(undeterred(backend), this);
  }

  /** Applies the next write, does this, and loses the answer. */
  loseNext(meanwhile: () => unknown): void {
    this.#next = { astray: false, meanwhile };
  }

  /** Lets the next write go astray, and does this. */
  holdNext(meanwhile: () => unknown): void {
    this.#next = { astray: true, meanwhile };
  }

  /** What went astray arrives, whether it is of use by now or not. */
  async arrive(): Promise<void> {
    expect(this.#stray, "something went astray").toBeDefined();
    await this.#stray?.().catch(() => {});
  }

  async call<T>({ kind, mutates }: Call, send: () => Promise<T>): Promise<T> {
    const next = this.#next;
    if (next === undefined || kind !== "commit" || !mutates) return send();
    this.#next = undefined;
    if (next.astray) this.#stray = send;
    else await send();
    await next.meanwhile();
    throw new CoordinationError("OUTCOME_UNKNOWN", "a commit, or the answer to it, was lost");
  }

  watch(watch: Watch): Watch {
    return watch;
  }
}

/** What is under way no longer hears that its caller gave up. */
function undeterred(backend: Backend): Backend {
  const { kv } = backend;
  const commit: KV["commit"] = (txn, options) => kv.commit(txn, { ...options, signal: undefined });
  return { ...backend, kv: { ...kv, commit } };
}

/** A process whose writes and answers a test can have lost, and whose link it can cut. */
export async function startForgetful(
  scene: Scene,
  options: ProcessOptions = {},
): Promise<Process & { readonly store: Forgetful; readonly link: Link }> {
  const made: { readonly store: Forgetful; readonly link: Link }[] = [];
  const process = await start(scene, options, (backend) => {
    const store = new Forgetful(backend);
    const link = new Link(store.backend);
    made.push({ store, link });
    return link.backend;
  });
  const [{ store, link }] = made as [{ store: Forgetful; link: Link }];
  return { ...process, store, link };
}
