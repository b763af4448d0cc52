import { type Clock, type Connector, type ConnectorOptions, checkOptions, systemClock } from "@conclave/core/backend";
import { Ledger } from "./ledger.ts";
import { type MemoryBackend, openClient } from "./memory-backend.ts";
import { strong } from "./mode.ts";
import { VirtualClock } from "./virtual-clock.ts";

export interface MemoryStoreOptions {
  /** The time the store and its clients live by; the system's when absent. */
  readonly clock?: Clock | undefined;
}

/**
 * A store in this process's memory. Each `connect` gives another client, as if another process had connected, so that a
 * test has as many processes as it likes.
 */
export class MemoryStore implements Connector {
  readonly clock: Clock;
  readonly #ledger: Ledger;

  constructor(options: MemoryStoreOptions = {}) {
    checkOptions("MemoryStore", options, ["clock"]);
    this.clock = options.clock ?? systemClock;
    this.#ledger = new Ledger(this.clock, strong);
  }

  /** A store on a clock of its own that moves only with `advance`. */
  static virtual(): MemoryStore {
    return new MemoryStore({ clock: new VirtualClock() });
  }

  async connect(options?: ConnectorOptions): Promise<MemoryBackend> {
    checkOptions("connect", options, ["signal", "timeoutMs", "onWarning"]);
    options?.signal?.throwIfAborted();
    return openClient(this.#ledger);
  }

  /** Lets time pass for the store and all its clients; only with a virtual clock. See {@link VirtualClock.advance}. */
  async advance(ms: number): Promise<void> {
    if (!(this.clock instanceof VirtualClock)) {
      throw new TypeError("advance needs a virtual clock: make the store with MemoryStore.virtual()");
    }
    await this.clock.advance(ms);
  }
}

/** A connector to a new memory store. Connect to it several times for several clients of that store. */
export function memory(options?: MemoryStoreOptions): MemoryStore {
  return new MemoryStore(options);
}
