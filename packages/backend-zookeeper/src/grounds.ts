import { CoordinationError } from "@conclave/core/backend";
import type { Deadline } from "./deadline.ts";
import { type Layout, nothing } from "./layout.ts";
import type { Link } from "./link.ts";

/** Where reads begin: all of them show what was written up to a revision, which is known with its answer. */
export interface Ground {
  readonly revision: Promise<bigint>;
}

/**
 * What linearizable reads stand on: a write that a majority agrees on, sent just before them. A session's requests are
 * answered in order, and a session sees its own writes, so what is read after it on the same link is of its revision or
 * later. Reads that begin in one turn of the event loop share a write.
 */
export class Grounds {
  readonly #link: Link;
  readonly #layout: Layout;
  #next: Promise<Ground> | undefined;

  constructor(link: Link, layout: Layout) {
    this.#link = link;
    this.#layout = layout;
  }

  /** Resolves when the write was sent, so that reads can follow; to its revision, once that is known. */
  take(deadline: Deadline): Promise<Ground> {
    this.#next ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#next = undefined;
        const revision = this.#write();
        revision.catch(() => {});
        resolve({ revision });
      });
    });
    return deadline.within(this.#next);
  }

  async #write(): Promise<bigint> {
    const answer = await this.#link.multi([{ set: this.#layout.clock, data: nothing }]);
    if (answer.applied) return answer.zxid;
    throw new CoordinationError("CORRUPT", `ZooKeeper has no ${this.#layout.clock} any more: somebody deleted it`);
  }
}
