import type { CallOptions, Revision } from "@conclave/core/backend";
import { decodeRevision, encodeRevision } from "./codec.ts";
import type { Connection } from "./connection.ts";
import type { Argument, Reply } from "./link.ts";
import type { Effect } from "./outcome.ts";
import { keysOf, store } from "./script.ts";

/**
 * The newest revision that a client has seen. Every call tells it to the store, so that a primary which knows less, since
 * a failover lost it, goes on above it: nothing that this client sees later has a smaller or an equal revision.
 */
export class Horizon {
  seen: Revision = 0n;

  note(revision: Revision): void {
    if (revision > this.seen) this.seen = revision;
  }
}

/** What the script can be asked for. */
export interface Command {
  readonly name: "get" | "list" | "commit" | "grant" | "keepAlive" | "revoke" | "tick";
  readonly effect: Effect;
  /** Refused, with `LIMIT`, by a store that has no room; what makes room, or renews a lease, is not. */
  readonly enlarges?: boolean;
  readonly args: readonly Argument[];
}

/** A space of the store: where its keys are, and the one way to run the script on them. */
export class Space {
  readonly keys: readonly string[];
  readonly horizon: Horizon;
  readonly #connection: Connection;

  constructor(name: string, connection: Connection, horizon: Horizon) {
    this.keys = keysOf(name);
    this.horizon = horizon;
    this.#connection = connection;
  }

  /** Runs a command; the answer, and the revision at which it was given. Rejects as `Connection.run` does. */
  async call(
    { name, effect, enlarges = false, args }: Command,
    options: CallOptions | undefined,
  ): Promise<{ readonly revision: Revision; readonly answer: Reply }> {
    const reply = await this.#connection.run(
      {
        name,
        effect,
        script: store,
        keys: this.keys,
        args: [name, enlarges ? 1 : 0, encodeRevision(this.horizon.seen), ...args],
      },
      { signal: options?.signal, timeoutMs: options?.timeoutMs },
    );
    const [digits, answer] = reply as readonly [Buffer, Reply];
    const revision = decodeRevision(digits);
    this.horizon.note(revision);
    return { revision, answer };
  }
}
