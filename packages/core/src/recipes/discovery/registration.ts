import { checkOptions } from "../../arguments.ts";
import type { Context, WaitOptions } from "../../context.ts";
import { KeptKey } from "../../kept-key.ts";
import {
  type Advertisement,
  advertisementOptions,
  checkAdvertisement,
  copyOf,
  encodeAdvertisement,
} from "./instance.ts";

/**
 * An instance's place in the directory: a key that is kept (see `kept-key.ts`) until it is deregistered. The last
 * registration of an id wins: when it is registered again, here or by another process, this one ends with `NOT_HELD`.
 */
export class Registration implements AsyncDisposable {
  /** The name of the service. */
  readonly service: string;
  /** The instance's id: the one given, or the one made up for it. */
  readonly id: string;
  readonly #kept: KeptKey<Advertisement>;

  private constructor(service: string, id: string, kept: KeptKey<Advertisement>) {
    this.service = service;
    this.id = id;
    this.#kept = kept;
  }

  /** Registers an instance, in one round trip once there is a session. */
  static async open(
    context: Context,
    { service, id, key }: { readonly service: string; readonly id: string; readonly key: string },
    value: Advertisement,
    options: WaitOptions,
  ): Promise<Registration> {
    const keeping = { key, what: `${service}/${id}`, value: copyOf(value), encode: encodeAdvertisement };
    return new Registration(service, id, await KeptKey.open(context, keeping, options));
  }

  /** Aborts with `NOT_HELD` when the same id was registered again; this registration then is over. */
  get signal(): AbortSignal {
    return this.#kept.signal;
  }

  /**
   * Changes what the instance says, in one round trip; what is not given stays, and `metadata: undefined` takes that away.
   *
   * Rejects with `NOT_HELD` after `deregister` and when the id was registered again, with `UNAVAILABLE` when the store does
   * not answer and nothing was changed, with `signal.reason`, with `LEASE_LOST` when the session ends first, and with
   * `CLOSED`. What it said before is what then is registered again, though until that happens the change may be seen.
   */
  async update(changes: Partial<Advertisement>, options: WaitOptions = {}): Promise<void> {
    checkOptions("update", changes, advertisementOptions);
    checkOptions("update", options, ["signal"]);
    const change = (before: Advertisement) => {
      const advertisement = { ...before, ...changes };
      checkAdvertisement("update", advertisement);
      return copyOf(advertisement);
    };
    await this.#kept.update(change, options);
  }

  /**
   * Takes the instance out of the directory. Never rejects for a store that is away: it is then taken out as soon as the
   * store is back, and goes with the session's lease at the latest. Doing it twice is fine.
   */
  deregister(): Promise<void> {
    return this.#kept.remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.deregister();
  }
}
