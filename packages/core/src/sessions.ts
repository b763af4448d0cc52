import type { WaitOptions } from "./context.ts";
import { CoordinationError, inWords, isCoordinationError } from "./errors.ts";
import type { Backend } from "./ports/backend.ts";
import { Session } from "./session.ts";
import { isForNow, persistently } from "./settle.ts";
import { abortable } from "./signals.ts";

/**
 * The sessions of one process, one at a time: opened when something first needs a lease, opened anew, with the next
 * epoch, after a loss. Only what is idempotent follows from one to the next, by `keep`; locks and leadership never do.
 */
export class Sessions {
  readonly #backend: Backend;
  readonly #ttlMs: number;
  readonly #closed: AbortSignal;
  readonly #warn: (warning: string) => void;
  readonly #keepers = new Set<(session: Session) => Promise<void>>();
  #current: Session | undefined;
  #opening: Promise<Session> | undefined;
  #epochs = 0;

  constructor(backend: Backend, ttlMs: number, closed: AbortSignal, warn: (warning: string) => void = () => {}) {
    this.#backend = backend;
    this.#ttlMs = ttlMs;
    this.#closed = closed;
    this.#warn = warn;
  }

  /**
   * The live session; opens one if there is none. Rejects with `UNAVAILABLE` when the store does not answer, also when
   * it may have granted a lease: nothing is on that yet, so trying again does no harm.
   */
  async current(options: WaitOptions = {}): Promise<Session> {
    this.#closed.throwIfAborted();
    if (this.#current?.isAlive()) return this.#current;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return abortable(this.#opening, options.signal);
  }

  /**
   * Calls `register` with each session opened from now on, until disposed; while there is any, a lost session is
   * replaced at once. The caller does what `register` does with the current session itself.
   */
  keep(register: (session: Session) => Promise<void>): Disposable {
    this.#keepers.add(register);
    // It may have ended since the caller used it, when nobody was there for whom to replace it.
    if (this.#current?.isAlive() === false) void this.#replace();
    return { [Symbol.dispose]: () => void this.#keepers.delete(register) };
  }

  /** Closes the current session. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => {});
    await this.#current?.close();
  }

  async #open(): Promise<Session> {
    const { clock } = this.#backend;
    const options = { ttlMs: this.#ttlMs, epoch: this.#epochs + 1, signal: this.#closed };
    const session = await Session.open(this.#backend, options).catch((error: unknown) => {
      // Of a grant whose answer was lost there may be a lease, on which there is nothing, and which will expire.
      if (!isCoordinationError(error, "OUTCOME_UNKNOWN")) throw error;
      const message = `the store did not say whether it opened a session: ${error.message}`;
      throw new CoordinationError("UNAVAILABLE", message, { cause: error });
    });
    this.#epochs = session.epoch;
    this.#current = session;
    if (this.#closed.aborted) {
      await session.close();
      throw this.#closed.reason;
    }
    session.signal.addEventListener("abort", () => void this.#ended(session), { once: true });
    for (const register of this.#keepers) void persistently(clock, session.signal, () => register(session));
    return session;
  }

  async #ended({ epoch, signal }: Session): Promise<void> {
    if (this.#closed.aborted) return;
    this.#warn(`session ${epoch} is lost, with all that it held: ${(signal.reason as Error).message}`);
    await this.#replace();
  }

  /** Even what looks final, such as a password that is refused, an operator may mend while what is kept waits for it. */
  async #replace(): Promise<void> {
    if (this.#keepers.size === 0) return;
    let warned = false;
    const again = (error: unknown) => {
      if (!isForNow(error) && !warned && !this.#closed.aborted) {
        this.#warn(`no new session could be opened yet, and registrations wait for it: ${inWords(error)}`);
        warned = true;
      }
      return isCoordinationError(error);
    };
    await persistently(this.#backend.clock, this.#closed, () => this.current(), again);
  }
}
