import { outOfRange, wrongType } from "../../arguments.ts";
import { hash } from "../../hash.ts";
import { highest } from "../../highest.ts";
import type { Clock } from "../../ports/clock.ts";
import { type Instance, pathOf } from "./instance.ts";

/**
 * How to choose among the instances of a service:
 *
 * - `round-robin` each in turn, in the order of the snapshot;
 * - `random` any, all with the same chance;
 * - `weighted` any, with a chance in proportion to its weight; undefined when all weights are 0;
 * - `least-busy` the one with the fewest picks of this view not yet disposed; of equals, each in turn;
 * - `consistent-hash` for one key always the same one while it is there, in every process, and only the keys of instances
 *   that come or go move (rendezvous hashing: Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
 *   IEEE/ACM Transactions on Networking, 1998);
 * - `sticky` for one key the one that this view gave it before, for as long as that is there, and a random one at first.
 *   It remembers the 10,000 keys last used.
 *
 * What a view remembers is its own: open one for a process and keep it, rather than one for each request.
 */
export type Strategy = "round-robin" | "random" | "weighted" | "least-busy" | "consistent-hash" | "sticky";

/** An instance that was picked; dispose it when done, so that `least-busy` knows. */
export interface Picked extends Disposable {
  /** What to talk to, as it was when it was picked. */
  readonly instance: Instance;
}

type Choose = (instances: readonly Instance[], key: string) => Instance | undefined;

/** How many keys `sticky` remembers; beyond it the one least recently used is forgotten. */
const stickyKeys = 10_000;

/** The strategies, and what they remember between picks. */
export class Picker {
  readonly #clock: Clock;
  readonly #busy = new Map<string, number>();
  readonly #stuck = new Map<string, string>();
  #turn = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** One of the instances; undefined when there is none to pick. */
  pick(instances: readonly Instance[], strategy: Strategy, key: string | undefined): Picked | undefined {
    const choose = Object.hasOwn(this.#strategies, strategy) ? this.#strategies[strategy] : undefined;
    if (choose === undefined) {
      throw outOfRange("strategy", strategy, `one of ${Object.keys(this.#strategies).join(", ")}`);
    }
    const keyed = strategy === "consistent-hash" || strategy === "sticky";
    if (typeof key !== "string" && (keyed || key !== undefined)) {
      throw wrongType(`key of a ${strategy} pick`, key, "a string");
    }
    const instance = choose(instances, key ?? "");
    return instance && this.#use(instance);
  }

  readonly #strategies: Readonly<Record<Strategy, Choose>> = {
    "round-robin": (instances) => instances[this.#turn++ % instances.length],
    random: (instances) => instances[Math.floor(this.#clock.random() * instances.length)],
    weighted: (instances) => this.#weighted(instances),
    "least-busy": (instances) => this.#leastBusy(instances),
    "consistent-hash": (instances, key) => highest(instances, (one) => hash(`${pathOf(one)}\0${key}`)),
    sticky: (instances, key) => this.#sticky(instances, key),
  };

  #weighted(instances: readonly Instance[]): Instance | undefined {
    let left = this.#clock.random() * instances.reduce((sum, { weight }) => sum + weight, 0);
    const chosen = instances.find(({ weight }) => {
      left -= weight;
      return left < 0;
    });
    // Rounding may leave a little over after the last.
    return chosen ?? instances.findLast(({ weight }) => weight > 0);
  }

  #leastBusy(instances: readonly Instance[]): Instance | undefined {
    // From a turning start, so that equally idle ones take turns.
    const start = this.#turn++ % Math.max(1, instances.length);
    const turned = [...instances.slice(start), ...instances.slice(0, start)];
    return highest(turned, (one) => -(this.#busy.get(pathOf(one)) ?? 0));
  }

  #sticky(instances: readonly Instance[], key: string): Instance | undefined {
    const before = this.#stuck.get(key);
    const instance = instances.find((one) => pathOf(one) === before) ?? this.#strategies.random(instances, key);
    this.#stuck.delete(key);
    if (instance) this.#stuck.set(key, pathOf(instance));
    const [oldest] = this.#stuck.keys();
    if (this.#stuck.size > stickyKeys && oldest !== undefined) this.#stuck.delete(oldest);
    return instance;
  }

  #use(instance: Instance): Picked {
    const path = pathOf(instance);
    this.#busy.set(path, (this.#busy.get(path) ?? 0) + 1);
    let done = false;
    return {
      instance,
      [Symbol.dispose]: () => {
        if (done) return;
        done = true;
        const left = (this.#busy.get(path) ?? 1) - 1;
        if (left > 0) this.#busy.set(path, left);
        else this.#busy.delete(path);
      },
    };
  }
}
