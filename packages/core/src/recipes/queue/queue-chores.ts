import type { Context } from "../../context.ts";
import { leave } from "../../place.ts";
import type { Condition, Delete, Put } from "../../ports/kv.ts";
import { settle } from "../../settle.ts";
import type { Claimed } from "./job.ts";
import { indexOf } from "./queue-index.ts";
import { burial, encodeRecord, exhaustion, type Item, type Meta, type QueueKeys } from "./queue-item.ts";
import type { Overdue } from "./queue-shelf.ts";

interface Chore {
  readonly if: readonly Condition[];
  readonly then: readonly (Put | Delete)[];
}

/**
 * What keeps a queue in order, and any consumer does that comes by. Each chore is one commit, which applies only if what
 * it mends is still so; so it is done once, whoever tries, and however often it is sent.
 */
export class Chores {
  readonly #context: Context;
  readonly #keys: QueueKeys;

  constructor(context: Context, keys: QueueKeys) {
    this.#context = context;
    this.#keys = keys;
  }

  /** Moves an item to the dead letters that cannot be delivered any more; whether nobody was faster. */
  bury({ id, meta, corrupt, modified }: Item): Promise<boolean> {
    const key = this.#keys.item(id);
    const reason = corrupt ? "what the index says of it cannot be read" : exhaustion(meta);
    const unclaimed = { key: this.#keys.claim(id), exists: false };
    const then = burial(this.#keys, id, meta, reason, this.#nowMs);
    return this.#passing(key, modified, { if: [{ key, modified }, unclaimed], then });
  }

  /** Takes an overdue claim away, so that its item can be claimed; whether nobody was faster. */
  free({ claim: { key, modified } }: Overdue): Promise<boolean> {
    return this.#passing(key, modified, { if: [{ key, modified }], then: [{ delete: key }] });
  }

  /** Moves to the dead letters what we claimed, and whose payload cannot be delivered. */
  async buryClaimed({ place, id, meta }: Claimed): Promise<void> {
    const { created } = place;
    const [key] = place.keys as [string];
    const then = burial(this.#keys, id, meta, "its payload is missing, or is not JSON", this.#nowMs);
    await this.#apply({ if: [{ key, created }], then: [{ delete: key }, ...then] });
  }

  /** Gives back what was claimed for nobody: such a delivery does not count. Never rejects. */
  async giveBack({ place, id, meta }: Claimed): Promise<void> {
    const { created } = place;
    const [key] = place.keys as [string];
    const item = this.#keys.item(id);
    const uncounted: Meta = { ...meta, deliveries: meta.deliveries - 1 };
    const returned = await this.#apply({
      if: [
        { key, created },
        { key: item, modified: created },
      ],
      then: [{ delete: key }, { put: item, value: encodeRecord(uncounted) }],
    }).catch(() => false);
    if (!returned) await leave(place);
  }

  /** Others of this process pass it over meanwhile, and until the copy of the index shows what became of it. */
  async #passing(key: string, modified: bigint, chore: Chore): Promise<boolean> {
    const undo = indexOf(this.#context, this.#keys).pass(key, modified);
    try {
      return await this.#apply(chore);
    } catch (error) {
      undo();
      throw error;
    }
  }

  /** Whether it was applied; not, if an answer was lost and the store had applied it before. */
  async #apply(chore: Chore): Promise<boolean> {
    const { kv, clock } = this.#context.backend;
    return (await settle(clock, this.#context.closed, () => kv.commit(chore))).succeeded;
  }

  get #nowMs(): number {
    return this.#context.backend.clock.wallMs();
  }
}
