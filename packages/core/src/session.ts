import { backoffMs } from "./backoff.ts";
import { CoordinationError, isCoordinationError } from "./errors.ts";
import type { Backend } from "./ports/backend.ts";
import { elapsedMs, type Instant, instant } from "./ports/clock.ts";
import type { CallOptions, Listing, Revision } from "./ports/kv.ts";
import type { Lease } from "./ports/leases.ts";
import { sleep } from "./signals.ts";

/** How much faster than ours the store's clock may run. */
const driftRatio = 0.01;
/** What a caller that was just told "still held" gets to act on it. */
const marginMs = (ttlMs: number): number => Math.min(50, ttlMs * 0.05);
/** How many keys one check of what is held reads. */
const keysPerCheck = 100;
/** The longest that one attempt to clean up, or the end of a session, waits for the store. */
const cleanupMs = (ttlMs: number): number => Math.min(2_000, ttlMs / 3);

/** A key whose loss must be announced to whoever relies on it. */
export interface HeldKey {
  readonly key: string;
  readonly created: Revision;
  /** Called at most once: the key is gone, is another's, or may be. */
  lost(reason: CoordinationError): void;
}

/** How to open a session; `signal` and `timeoutMs` are those of its grant. */
export interface SessionOptions extends CallOptions {
  /** Time to live to ask for, in milliseconds. */
  readonly ttlMs: number;
  /** Which of its owner's sessions this is, counted from 1. */
  readonly epoch?: number | undefined;
}

/**
 * One lease kept alive, shared by everything a process holds. It is alive while the store cannot yet have given its keys
 * away: until the time the last acknowledged renewal was *sent*, plus the time to live that was granted, less the clocks'
 * drift and a margin. `isAlive` computes that, so it is right in the first line after the process was stopped or busy;
 * `signal` aborts at that time. A loss is final: no late answer revives a session.
 *
 * Renewals are sent every third of the time to live. With each one it also reads the keys behind what is held, so that
 * a key that an operator deleted, or that a faulty store dropped while it kept acknowledging renewals, is lost within one
 * such interval.
 */
export class Session implements AsyncDisposable {
  /** Where everything held here hangs; keys of your own may too. It is the session's to renew and revoke. */
  readonly lease: Lease;
  /** Which of its conclave's sessions this is, counted from 1; a larger one follows a loss. */
  readonly epoch: number;
  readonly #backend: Backend;
  readonly #ended = new AbortController();
  readonly #held = new Set<HeldKey>();
  readonly #cleanups = new Map<string, () => Promise<boolean>>();
  readonly #running = new Set<Promise<unknown>>();
  #renewedAt: Instant;
  #validMs: number;
  #expiry: Disposable | undefined;
  #names = 0;
  #closing: Promise<void> | undefined;

  private constructor(backend: Backend, lease: Lease, grantedAt: Instant, epoch: number) {
    this.#backend = backend;
    this.lease = lease;
    this.epoch = epoch;
    this.#renewedAt = grantedAt;
    this.#validMs = validMs(lease.ttlMs);
  }

  /** Opens a session; rejects as `Leases.grant` does. */
  static async open(backend: Backend, options: SessionOptions): Promise<Session> {
    const { epoch = 1, ...grant } = options;
    const sentAt = instant(backend.clock);
    const lease = await backend.leases.grant(grant);
    const session = new Session(backend, lease, sentAt, epoch);
    session.#armExpiry();
    void session.#track(session.#keepAlive());
    return session;
  }

  /** Aborts once, when the session ends: with `LEASE_LOST` when it was lost, with `CLOSED` when it was closed. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Whether the store cannot yet have given away what is held; plain clock arithmetic, so never out of date. */
  isAlive(): boolean {
    if (!this.#ended.signal.aborted && this.remainingMs() <= 0) {
      this.#end(new CoordinationError("LEASE_LOST", `the session was not renewed within ${this.#validMs} ms`));
    }
    return !this.#ended.signal.aborted;
  }

  /** For how many milliseconds it stays alive if no further renewal succeeds; 0 or less once it cannot be relied on. */
  remainingMs(): number {
    return this.#validMs - elapsedMs(this.#backend.clock, this.#renewedAt);
  }

  /** A name for an own key that nobody has used: the lease's id, and a number that grows. */
  nextName(): string {
    this.#names += 1;
    return `${this.lease.id}-${this.#names}`;
  }

  /** Announces to `held.lost` when the session ends or the key is no longer that incarnation on this lease. */
  watchOver(held: HeldKey): Disposable {
    this.throwIfEnded();
    this.#held.add(held);
    return { [Symbol.dispose]: () => void this.#held.delete(held) };
  }

  /** Throws why the session ended, if it has. */
  throwIfEnded(): void {
    if (!this.isAlive()) throw this.#ended.signal.reason;
  }

  /**
   * Deletes own keys, and tries again after each renewal until that is done; the lease takes the keys at the latest.
   * Resolves after the first attempt. Without `created` the keys' put may still arrive, even once more where it was sent
   * several times: they are looked for until one time to live has passed.
   */
  discard(keys: readonly string[], created?: Revision): Promise<void> {
    const { kv, clock } = this.#backend;
    const since = instant(clock);
    const options = { timeoutMs: cleanupMs(this.lease.ttlMs) };
    const [name] = keys as [string];
    const remove = async (doomed: readonly string[], created: Revision): Promise<void> => {
      const conditions = doomed.map((key) => ({ key, created }));
      const deletes = doomed.map((key) => ({ delete: key }));
      const { succeeded } = await kv.commit({ if: conditions, then: deletes }, options);
      // One of them is gone already: the others go one by one.
      if (!succeeded && doomed.length > 1) for (const key of doomed) await remove([key], created);
    };
    const cleanup = async (): Promise<boolean> => {
      if (created !== undefined) {
        await remove(keys, created);
        return true;
      }
      const isLast = elapsedMs(clock, since) >= this.lease.ttlMs;
      const reads = keys.map((key) => ({ get: key }));
      const { results } = await kv.commit({ then: reads }, options);
      if (this.#cleanups.get(name) !== cleanup) return true;
      let rewritten = false;
      for (const entry of results) {
        if (entry?.lease !== this.lease.id) continue;
        const { key, modified } = entry;
        const { succeeded } = await kv.commit({ if: [{ key, modified }], then: [{ delete: key }] }, options);
        rewritten ||= !succeeded;
      }
      // What was on its way when the key was given up need not keep it until the next renewal.
      if (rewritten) return cleanup();
      return isLast;
    };
    this.#cleanups.set(name, cleanup);
    return this.#track(this.#attempt(name, cleanup));
  }

  /** Takes back a `discard`, before the key is put again: what is put from now on stays. */
  reclaim(key: string): void {
    this.#cleanups.delete(key);
  }

  /**
   * Ends it and revokes the lease, so that all its keys go at once; if the store is away they expire. A conclave closes its
   * session itself; close that instead.
   */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      const wasAlive = this.isAlive();
      this.#end(new CoordinationError("CLOSED", "the session was closed"));
      if (wasAlive) await this.lease.revoke({ timeoutMs: cleanupMs(this.lease.ttlMs) }).catch(() => {});
      await Promise.allSettled(this.#running);
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(reason: CoordinationError): void {
    if (this.#ended.signal.aborted) return;
    this.#expiry?.[Symbol.dispose]();
    this.#ended.abort(reason);
    for (const held of this.#held) held.lost(reason);
    this.#held.clear();
    this.#cleanups.clear();
  }

  #armExpiry(): void {
    this.#expiry?.[Symbol.dispose]();
    // At least 1 ms, since what rounding leaves of a wait may be too little to move a clock at all.
    this.#expiry = this.#backend.clock.after(Math.max(1, this.remainingMs()), () => {
      // A timer may fire early against the other hand of the clock: then it is set again for the rest.
      if (this.isAlive()) this.#armExpiry();
    });
  }

  async #keepAlive(): Promise<void> {
    const { clock } = this.#backend;
    const { signal } = this;
    let pauseMs = this.#untilRenewalMs();
    for (let failures = 0; ; ) {
      await sleep(clock, pauseMs, signal).catch(() => {});
      if (!this.isAlive()) return;
      const sentAt = instant(clock);
      try {
        const ttlMs = await this.lease.keepAlive({ signal, timeoutMs: this.lease.ttlMs / 4 });
        if (!this.isAlive()) return;
        this.#renewedAt = sentAt;
        this.#validMs = validMs(ttlMs);
        this.#armExpiry();
        failures = 0;
        pauseMs = this.#untilRenewalMs();
        void this.#track(this.#afterRenewal());
      } catch (error) {
        if (signal.aborted) return;
        if (isCoordinationError(error, "LEASE_LOST", "CLOSED")) return this.#end(error);
        failures += 1;
        pauseMs = backoffMs(clock, failures, this.lease.ttlMs / 10);
      }
    }
  }

  /** Counted from when the last renewal, or the grant, was sent: an answer that took long leaves less time for the next. */
  #untilRenewalMs(): number {
    const { clock } = this.#backend;
    const intervalMs = (this.lease.ttlMs / 3) * (0.9 + 0.1 * clock.random());
    return Math.max(0, intervalMs - elapsedMs(clock, this.#renewedAt));
  }

  async #afterRenewal(): Promise<void> {
    const held = [...this.#held];
    for (let from = 0; from < held.length; from += keysPerCheck)
      await this.#check(held.slice(from, from + keysPerCheck));
    for (const [key, cleanup] of [...this.#cleanups]) {
      if (this.#ended.signal.aborted) return;
      await this.#attempt(key, cleanup);
    }
  }

  async #attempt(key: string, cleanup: () => Promise<boolean>): Promise<void> {
    // What is no failure of the store, such as a key too long for it, would fail for ever.
    const done = await cleanup().catch((error: unknown) => !isCoordinationError(error));
    if (done && this.#cleanups.get(key) === cleanup) this.#cleanups.delete(key);
  }

  async #check(held: readonly HeldKey[]): Promise<void> {
    const { signal } = this;
    const timeoutMs = this.lease.ttlMs / 3;
    // Of all keys that begin with this one, it comes first. What the key holds may be large, and is of no interest.
    const reads = held.map(({ key }) => ({ list: key, limit: 1, keysOnly: true }) as const);
    const commit = await this.#backend.kv.commit({ then: reads }, { signal, timeoutMs }).catch(() => undefined);
    commit?.results.forEach((result, index) => {
      const one = held[index] as HeldKey;
      const [entry] = (result as Listing).entries;
      if (entry?.key === one.key && entry.created === one.created && entry.lease === this.lease.id) return;
      if (this.#held.delete(one)) one.lost(new CoordinationError("LEASE_LOST", `the key ${one.key} is gone`));
    });
  }

  /** Lets `close` wait for what runs in the background; such work never rejects. */
  #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    void work.finally(() => this.#running.delete(work));
    return work;
  }
}

/**
 * What recipes of your own need of the session: its `lease` to hang keys on, `nextName()` for keys that nobody else uses,
 * and `signal`, `isAlive()` and `remainingMs()` to know how long those are yours. The conclave opens, renews and closes it.
 */
export type LiveSession = Pick<
  Session,
  "lease" | "epoch" | "signal" | "isAlive" | "remainingMs" | "nextName" | "throwIfEnded"
>;

function validMs(ttlMs: number): number {
  return ttlMs * (1 - driftRatio) - marginMs(ttlMs);
}
