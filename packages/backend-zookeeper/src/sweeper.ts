import type { Clock } from "@conclave/core/backend";
import { Deadline } from "./deadline.ts";
import { type Layout, parentOf } from "./layout.ts";
import type { Link } from "./link.ts";

/** So many directories are remembered; the oldest is forgotten for one more, and found again by chance. */
const mostRemembered = 10_000;

/** The most that a client looks after as it leaves. */
const mostAtLast = 200;

/** A directory with more children is not looked into for directories that nobody remembers. */
const mostChildren = 1_000;

/** How to sweep. */
export interface SweeperOptions {
  readonly clock: Clock;
  /** How long a directory rests before it is looked after, in milliseconds. */
  readonly restMs: number;
  readonly callTimeoutMs: number;
}

/**
 * Removes directories in which there is nothing any more. ZooKeeper removes a directory only while it is empty, and who
 * creates something in one that has gone is refused, and makes it anew; so this gets in nobody's way, at any time.
 *
 * A client looks after directories in which it wrote, and in which it saw something go. What a client that died leaves
 * behind is found by chance: each round looks down one way, from the top to an end, at random.
 */
export class Sweeper {
  readonly #link: Link;
  readonly #layout: Layout;
  readonly #options: SweeperOptions;
  /** When something was last done there, the longest ago first, and whether it may empty by itself, as leases end. */
  readonly #directories = new Map<string, { readonly touchedMs: number; readonly mayEmpty: boolean }>();
  #timer: Disposable | undefined;

  constructor(link: Link, layout: Layout, options: SweeperOptions) {
    this.#link = link;
    this.#layout = layout;
    this.#options = options;
    this.#wait();
  }

  /** Something was put next to an entry, or went from there; on a lease, it will go by itself. */
  touch(entryPath: string, isLeased: boolean): void {
    const directory = parentOf(entryPath);
    if (directory === this.#layout.top) return;
    const mayEmpty = isLeased || this.#directories.get(directory)?.mayEmpty === true;
    this.#directories.delete(directory);
    this.#directories.set(directory, { touchedMs: this.#options.clock.monotonicMs(), mayEmpty });
    if (this.#directories.size <= mostRemembered) return;
    for (const oldest of this.#directories.keys()) {
      this.#directories.delete(oldest);
      break;
    }
  }

  /** Looks after the last directories once more, as far as that gets by the deadline, and then no more. */
  async finish(deadline: Deadline): Promise<void> {
    this.#timer?.[Symbol.dispose]();
    const removals = [...this.#directories.keys()]
      .slice(-mostAtLast)
      .map((directory) => this.#removeIfEmpty(directory, deadline));
    this.#directories.clear();
    await Promise.allSettled(removals);
  }

  #wait(): void {
    const { clock, restMs } = this.#options;
    // Clients that were started together need not look together.
    this.#timer = clock.after(restMs * (0.5 + clock.random()), () => {
      this.#wait();
      this.#sweep().catch(() => {});
    });
  }

  async #sweep(): Promise<void> {
    const { clock, restMs, callTimeoutMs } = this.#options;
    const nowMs = clock.monotonicMs();
    for (const [directory, { touchedMs, mayEmpty }] of this.#directories) {
      if (nowMs - touchedMs < restMs) break;
      const deadline = new Deadline(clock, {}, callTimeoutMs);
      const isThere = await this.#removeIfEmpty(directory, deadline);
      if (this.#directories.get(directory)?.touchedMs !== touchedMs) continue;
      this.#directories.delete(directory);
      if (isThere && mayEmpty) this.#directories.set(directory, { touchedMs: nowMs, mayEmpty });
    }
    await this.#wander(new Deadline(clock, {}, callTimeoutMs));
  }

  /** Removes it, and those above it that are empty without it. Says whether it is still there. */
  async #removeIfEmpty(directory: string, deadline: Deadline): Promise<boolean> {
    for (let path = directory; path.length > this.#layout.top.length; path = parentOf(path)) {
      const { stat } = await this.#link.exists(path, undefined, deadline.call);
      if (stat === undefined) continue;
      if (stat.numChildren > 0) return path === directory;
      await this.#link.multi([{ remove: path }], deadline.call);
    }
    return false;
  }

  async #wander(deadline: Deadline): Promise<void> {
    for (let path = this.#layout.top; ; ) {
      const { stat } = await this.#link.exists(path, undefined, deadline.call);
      if (stat === undefined || stat.numChildren > mostChildren) return;
      const names = (await this.#link.children(path, undefined, deadline.call)).names ?? [];
      if (names.length === 0) return void (await this.#removeIfEmpty(path, deadline));
      const directories = names.filter((name) => name.startsWith("d"));
      const next = directories[Math.floor(this.#options.clock.random() * directories.length)];
      if (next === undefined) return;
      path = `${path}/${next}`;
    }
  }
}
