import { hash } from "../../hash.ts";
import { highest } from "../../highest.ts";
import { Hold } from "../../hold.ts";
import type { Revision } from "../../ports/kv.ts";

/**
 * A partition that this member owns: with `token`, `guard`, `isHeld` and `signal` as any hold. The signal aborts when the
 * lease is lost, and when the partition is to go to another member; then stop, and do not write any more.
 */
export class Partition extends Hold {
  /** Which one. */
  readonly name: string;
  readonly #released: () => void;

  /** `released` is told when it was given back. */
  constructor(name: string, released: () => void, ...hold: ConstructorParameters<typeof Hold>) {
    super(...hold);
    this.name = name;
    this.#released = released;
  }

  protected override async giveBack(wasHeld: boolean): Promise<void> {
    await super.giveBack(wasHeld);
    this.#released();
  }
}

/** The partitions of this member from now on. */
export interface Assignment {
  /** By name, in the order in which the partitioner names them. */
  readonly partitions: ReadonlyMap<string, Partition>;
  /** The revision of the members that it follows from, or a later one. */
  readonly revision: Revision;
}

/** The name that has the highest hash together with a key: each of the names has an equal share of all keys. */
export function rendezvous(key: string, names: Iterable<string>): string | undefined {
  return highest(names, (name) => hash(`${name}\0${key}`));
}
