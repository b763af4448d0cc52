import type { CallOptions } from "@conclave/core/backend";
import type { Link, Reply, ScriptCall } from "./link.ts";
import type { Route } from "./route.ts";

/**
 * A way to the primary that lasts: it keeps one link, opens the next when that ends, and repeats what may be repeated.
 * Every call has a deadline.
 */
export class Connection {
  readonly route: Route;

  /** `purpose` is what operators see in CLIENT LIST. */
  constructor(route: Route, _purpose: "calls" | "leases" | "events") {
    this.route = route;
  }

  /** Aborts, with `CLOSED`, when this is closed. */
  get closed(): AbortSignal {
    throw new Error("not yet");
  }

  /**
   * Runs a script: reads again and again until the deadline, writes once unless they were surely not applied. Rejects with
   * `UNAVAILABLE`, `OUTCOME_UNKNOWN`, `DENIED`, `LIMIT`, `CLOSED`, or the signal's reason.
   */
  run(_call: ScriptCall, _options?: CallOptions): Promise<Reply> {
    throw new Error("not yet");
  }

  /**
   * The present link, or the next one, for whoever must know that two commands go over one connection, such as the reader
   * of the stream. Waits for it as `run` does, with the same errors, and pauses between one that ended and the next.
   */
  link(_options?: CallOptions): Promise<Link> {
    throw new Error("not yet");
  }

  /** Rejects what is pending with `CLOSED` and lets go of the socket. */
  close(): void {}
}
