import {
  type Clock,
  type Connector,
  type ConnectorOptions,
  checkOptions,
  outOfRange,
  seededRandom,
  systemClock,
} from "@conclave/core/backend";
import { Ledger } from "./ledger.ts";
import { type MemoryBackend, openClient } from "./memory-backend.ts";
import { strong } from "./mode.ts";
import { VirtualClock } from "./virtual-clock.ts";
import { weak } from "./weak.ts";

/** What kind of memory store to make. A misspelt option is a `TypeError`. */
export interface MemoryStoreOptions {
  /** The time the store and its clients live by; the system's when absent. */
  readonly clock?: Clock | undefined;
  /**
   * `strong`, the default, promises all that the contract allows. `weak` promises only what it demands: watches that are
   * late, merge changes or gap, revisions with holes, leases that last longer than asked. For testing what must work on
   * every store.
   */
  readonly mode?: "strong" | "weak" | undefined;
  /** Decides when and how a weak store is weak, and the chances and ids of a virtual clock; 1 when absent. */
  readonly seed?: number | undefined;
}

/**
 * A store in this process's memory. Each `connect` gives another client, as if another process had connected, so that a
 * test has as many processes as it likes.
 */
export class MemoryStore implements Connector {
  /** The time that the store and all its clients live by. */
  readonly clock: Clock;
  readonly #ledger: Ledger;

  constructor(options: MemoryStoreOptions = {}) {
    checkOptions("MemoryStore", options, ["clock", "mode", "seed"]);
    const { clock = systemClock, mode = "strong", seed = 1 } = options;
    if (mode !== "strong" && mode !== "weak") throw outOfRange("mode of MemoryStore", mode, '"strong" or "weak"');
    this.clock = clock;
    // Not the clock's own sequence again: its chances must not foretell the store's.
    this.#ledger = new Ledger(clock, mode === "weak" ? weak(seededRandom(~seed)) : strong);
  }

  /** A store on a clock of its own, a `VirtualClock` that moves only with `advance`. */
  static virtual(options: Omit<MemoryStoreOptions, "clock"> = {}): MemoryStore {
    return new MemoryStore({ ...options, clock: new VirtualClock({ seed: options.seed }) });
  }

  /** Another client, at once: there is no server that could be away. Rejects with `signal.reason` if that has aborted. */
  async connect(options?: ConnectorOptions): Promise<MemoryBackend> {
    checkOptions("connect", options, ["signal", "timeoutMs", "onWarning"]);
    options?.signal?.throwIfAborted();
    return openClient(this.#ledger);
  }

  /**
   * Lets so many milliseconds pass for the store and all its clients; see {@link VirtualClock.advance}. Rejects with
   * `TypeError` unless the store's clock is a virtual one.
   */
  async advance(ms: number): Promise<void> {
    if (!(this.clock instanceof VirtualClock)) {
      throw new TypeError("advance needs a virtual clock: make the store with MemoryStore.virtual()");
    }
    await this.clock.advance(ms);
  }
}

/**
 * A new memory store, as a connector: the same as `new MemoryStore(options)`. Connect to it several times for several
 * clients of that store; to another `memory()` for a store of its own.
 */
export function memory(options?: MemoryStoreOptions): MemoryStore {
  return new MemoryStore(options);
}
