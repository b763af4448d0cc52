import { type Clock, isCoordinationError, type Revision, type WatchRange } from "@conclave/core/backend";
import { backoff, type Deadline } from "./deadline.ts";
import { Grounds } from "./grounds.ts";
import type { Layout } from "./layout.ts";
import type { Link } from "./link.ts";
import { Mirror } from "./mirror.ts";
import { Pass } from "./pass.ts";
import { Sighted, type Sightings } from "./sightings.ts";
import { type View, viewOf } from "./view.ts";

/** What was read, all of it as it was at one revision. */
export interface Reading<T> {
  readonly value: T;
  readonly revision: Revision;
}

/** What one attempt came to; without a revision, it was never all there together. */
interface Seen<T> {
  readonly value: T;
  readonly revision: Revision | undefined;
  /** What it showed to be there. */
  readonly keys: readonly string[];
}

/** Passes that others' writes may spoil before watches are used, which they cannot spoil but which cost more. */
const plainPasses = 3;
/** After a pass that found so many keys, watches cost less than to be spoilt again. */
const manyKeys = 500;

/** Linearizable reads, of many nodes at one revision. */
export class Reader {
  readonly #link: Link;
  readonly #layout: Layout;
  readonly #grounds: Grounds;
  readonly #sightings: Sightings;
  readonly #clock: Clock;

  constructor(link: Link, layout: Layout, sightings: Sightings, clock: Clock) {
    this.#link = link;
    this.#layout = layout;
    this.#grounds = new Grounds(link, layout);
    this.#sightings = sightings;
    this.#clock = clock;
  }

  /** What `ask` reads in these ranges. It is asked again when others wrote meanwhile. */
  async read<T>(
    ranges: readonly WatchRange[],
    deadline: Deadline,
    ask: (view: View) => Promise<T>,
  ): Promise<Reading<T>> {
    let isLarge = false;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const ground = await this.#grounds.take(deadline);
        const seen: Seen<T> =
          isLarge || attempt > plainPasses
            ? await this.#mirrored(ranges, ground.revision, deadline, ask)
            : await this.#passed(ground.revision, deadline, ask);
        const { value, revision, keys } = seen;
        if (revision !== undefined && this.#sightings.see(keys, revision)) return { value, revision };
        isLarge ||= keys.length > manyKeys;
        deadline.check();
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

  async #passed<T>(ground: Promise<Revision>, deadline: Deadline, ask: (view: View) => Promise<T>): Promise<Seen<T>> {
    using patience = this.#link.patience(deadline.call);
    const pass = new Pass(this.#link, this.#layout, patience, { guarded: false });
    const view = new Sighted(pass);
    const [value, floor] = await Promise.all([ask(view), deadline.within(ground)]);
    return { value, revision: await pass.revision(floor), keys: view.keys };
  }

  async #mirrored<T>(
    ranges: readonly WatchRange[],
    ground: Promise<Revision>,
    deadline: Deadline,
    ask: (view: View) => Promise<T>,
  ): Promise<Seen<T>> {
    const mirror = new Mirror(this.#link, this.#layout, ranges);
    try {
      // Not at once, as a pass does, which sees by its replies whether they came before the ground.
      await deadline.within(ground);
      const cut = await mirror.settle(deadline);
      const view = new Sighted(viewOf(cut));
      return { value: await ask(view), revision: cut.revision, keys: view.keys };
    } finally {
      mirror.close();
    }
  }
}
