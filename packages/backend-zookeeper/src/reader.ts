import { type Clock, isCoordinationError, type Revision, type WatchRange } from "@conclave/core/backend";
import { backoff, type Deadline } from "./deadline.ts";
import { Grounds } from "./grounds.ts";
import type { Layout } from "./layout.ts";
import type { Link } from "./link.ts";
import { Mirror } from "./mirror.ts";
import { Pass } from "./pass.ts";
import { type View, viewOf } from "./view.ts";

/** What was read, all of it as it was at one revision. */
export interface Reading<T> {
  readonly value: T;
  readonly revision: Revision;
}

/** Passes that others' writes may spoil before watches are used, which they cannot spoil. */
const plainPasses = 3;

/** Linearizable reads, of many nodes at one revision. */
export class Reader {
  readonly #link: Link;
  readonly #layout: Layout;
  readonly #grounds: Grounds;
  readonly #clock: Clock;

  constructor(link: Link, layout: Layout, clock: Clock) {
    this.#link = link;
    this.#layout = layout;
    this.#grounds = new Grounds(link, layout);
    this.#clock = clock;
  }

  /** What `ask` reads in these ranges. It is asked again when others wrote meanwhile. */
  async read<T>(
    ranges: readonly WatchRange[],
    deadline: Deadline,
    ask: (view: View) => Promise<T>,
  ): Promise<Reading<T>> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const ground = await this.#grounds.take(deadline);
        if (attempt > plainPasses) return await this.#mirrored(ranges, ground.revision, deadline, ask);
        using patience = this.#link.patience(deadline.call);
        const pass = new Pass(this.#link, this.#layout, patience, { guarded: false });
        const [value, floor] = await Promise.all([ask(pass), deadline.within(ground.revision)]);
        const revision = await pass.revision(floor);
        if (revision !== undefined) return { value, revision };
      } catch (error) {
        if (!isCoordinationError(error, "UNAVAILABLE", "OUTCOME_UNKNOWN")) throw error;
        await backoff(this.#clock, deadline, attempt, error);
      }
    }
  }

  /** Has what is read on the link of this client from now on be no older than what anybody was told is done. */
  async catchUp(deadline: Deadline): Promise<void> {
    await this.#grounds.take(deadline);
  }

  async #mirrored<T>(
    ranges: readonly WatchRange[],
    ground: Promise<Revision>,
    deadline: Deadline,
    ask: (view: View) => Promise<T>,
  ): Promise<Reading<T>> {
    const mirror = new Mirror(this.#link, this.#layout, ranges);
    try {
      // Not at once, as a pass does, which sees by its replies whether they came before the ground.
      await deadline.within(ground);
      const cut = await mirror.settle(deadline);
      return { value: await ask(viewOf(cut)), revision: cut.revision };
    } finally {
      mirror.close();
    }
  }
}
