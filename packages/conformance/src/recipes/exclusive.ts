import type { Conclave, Hold, Name, WaitOptions } from "@conclave/core";
import type { Backend } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene } from "../context.ts";
import type { RoundTrips } from "../counting.ts";
import { keysOf } from "../entries.ts";
import type { Process } from "./process.ts";

/** What is granted, of whatever is exclusive. */
export type Grant = Pick<Hold, "token" | "key" | "signal" | "isHeld" | "guard" | "release">;

/** Something that one process at a time has, in the order they asked for it: keys in line under a prefix. */
export interface Exclusive {
  readonly kind: string;
  /** Where below its prefix its line is; right there when absent. */
  readonly lane?: string | undefined;
  /** What it costs to wait, where that is not what it costs a mutex. */
  readonly costs?: Costs | undefined;
  acquire(conclave: Conclave, name: Name, options?: WaitOptions): Promise<Grant>;
}

/** What waiting costs, in round trips. */
export interface Costs {
  /** To wait for one holder. */
  readonly waiting: RoundTrips;
  /** When what ten wait for is released: those first in line; the others do nothing. */
  readonly woken: readonly RoundTrips[];
  /** Whether the first in line watches a whole prefix, so that a gap in what it hears makes it look for nothing. */
  readonly firstHearsAll?: boolean | undefined;
}

/** Two looks and a place in line; and two watches, of who is ahead and of our own key. */
const costsOfLine: Costs = { waiting: { commit: 3, watch: 2 }, woken: [{ commit: 1 }] };

/** The head of the line has one watch, of all that matters to it. Once granted it says so, and the next is the head. */
const costsOfPermits: Costs = {
  waiting: { commit: 3, watch: 1 },
  woken: [{ commit: 2 }, { commit: 2, watch: 1 }],
  firstHearsAll: true,
};

export const exclusives: readonly Exclusive[] = [
  { kind: "a mutex", acquire: (conclave, name, options) => conclave.mutex(name).acquire(options) },
  { kind: "leadership", acquire: (conclave, name, options) => conclave.election(name).campaign(options) },
  {
    kind: "a lock to write",
    lane: "w/",
    acquire: (conclave, name, options) => conclave.rwLock(name).write(options),
  },
  {
    kind: "the only permit",
    lane: "permits/",
    costs: costsOfPermits,
    acquire: (conclave, name, options) => conclave.semaphore(name, { limit: 1 }).acquire(options),
  },
];

/** The prefix of what the tests contend for, so that they can look at its keys. */
export const line = "line/";

/** Somebody whose place in line is taken. */
export interface Waiter {
  readonly process: Process;
  readonly key: string;
  readonly granted: Promise<Grant>;
  /** Gives up the wait, with `reason`. */
  cancel(reason?: unknown): void;
}

/** One line of contenders for something exclusive, and a bystander who looks at the store. */
export class Contest {
  /** Where the keys of the line are. */
  readonly line: string;
  readonly costs: Costs;
  readonly #exclusive: Exclusive;
  readonly #bystander: Backend;
  readonly #scene: Scene;

  constructor(exclusive: Exclusive, bystander: Backend, scene: Scene) {
    this.line = `${line}${exclusive.lane ?? ""}`;
    this.costs = exclusive.costs ?? costsOfLine;
    this.#exclusive = exclusive;
    this.#bystander = bystander;
    this.#scene = scene;
  }

  acquire({ conclave }: Process, options?: WaitOptions): Promise<Grant> {
    return this.#exclusive.acquire(conclave, { prefix: line }, options);
  }

  /** Takes the next place in line; resolves once it is taken. */
  async join(process: Process): Promise<Waiter> {
    const before = new Set(await this.keys());
    const controller = new AbortController();
    const granted = this.acquire(process, { signal: controller.signal });
    granted.catch(() => {});
    const key = await this.#scene.eventually(this.#bystander, async () => {
      const [joined] = (await this.keys()).filter((key) => !before.has(key));
      expect(joined, "the place is taken").toBeDefined();
      return joined as string;
    });
    return { process, key, granted, cancel: (reason) => controller.abort(reason) };
  }

  /** The keys in line, first come first. */
  async keys(): Promise<readonly string[]> {
    return keysOf(await this.#bystander.kv.list(this.line, { order: "oldest" }));
  }

  /** Waits until nothing but these keys is in line. */
  async onlyLeft(...keys: readonly string[]): Promise<void> {
    await this.#scene.eventually(this.#bystander, async () => expect(await this.keys()).toEqual(keys));
  }
}

/** Where a grant lets in: it has room for one. */
export class Room {
  readonly #grants: Grant[] = [];

  /** Comes in with a grant: nobody else's may still count as held, and the token must be the largest so far. */
  enter(grant: Grant): void {
    expect(grant.isHeld(), "what was granted is held").toBe(true);
    expect(this.#grants.filter((one) => one.isHeld()).map(({ token }) => token)).toEqual([]);
    const last = this.#grants.at(-1);
    if (last) expect(grant.token, "tokens grow").toBeGreaterThan(last.token);
    this.#grants.push(grant);
  }

  get visits(): number {
    return this.#grants.length;
  }
}
