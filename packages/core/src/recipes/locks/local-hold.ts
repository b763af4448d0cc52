import { type Guarded, Hold } from "../../hold.ts";
import type { Place } from "../../place.ts";
import type { Backend } from "../../ports/backend.ts";
import type { Instant } from "../../ports/clock.ts";
import type { Txn } from "../../ports/kv.ts";

/** A lock as one caller of a process has it, by however many holds. */
export interface Grant {
  readonly giver: Giver;
  readonly place: Place;
  /** When the process was given the key. */
  readonly since: Instant;
  /** How often the key was handed over before. */
  readonly handovers: number;
  readonly holds: Set<LocalHold>;
  /** The store may yet be asked whether it is still held. */
  guarded: boolean;
}

/** Whose grants they are. */
interface Giver {
  /** Has a hold released; with the last of its grant's, so is the lock. */
  released(grant: Grant, hold: LocalHold): Promise<void>;
  /** Knows of a hold that was lost; with the last of its grant's, so is the lock. */
  lost(grant: Grant): void;
}

/** A hold whose key may go to the next caller of its process. */
export class LocalHold extends Hold {
  readonly grant: Grant;

  constructor(backend: Backend, grant: Grant, until: AbortSignal | undefined) {
    super(backend, grant.place, until, grant.handovers);
    this.grant = grant;
  }

  override guard<const T extends Txn>(txn: T): Guarded<T> {
    this.grant.guarded = true;
    return super.guard(txn);
  }

  protected override giveBack(): Promise<void> {
    return this.grant.giver.released(this.grant, this);
  }

  protected override lose(reason: unknown): void {
    super.lose(reason);
    this.grant.giver.lost(this.grant);
  }
}
