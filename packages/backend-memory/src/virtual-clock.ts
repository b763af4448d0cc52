import { type Clock, outOfRange, seededRandom } from "@conclave/core/backend";
import { settled } from "./turns.ts";

/** How a virtual clock starts. */
export interface VirtualClockOptions {
  /** Decides `random()` and `id()`; 1 when absent. */
  readonly seed?: number | undefined;
  /** Where the wall hand starts, in milliseconds since the epoch; the year 2000 when absent. */
  readonly wallMs?: number | undefined;
}

interface Timer {
  readonly at: number;
  /** Timers due at the same moment fire in the order they were set. */
  readonly order: number;
  readonly callback: () => void;
}

/**
 * A clock whose time passes only when a test says so: `advance` moves it, `play` lets it run by itself. With the same
 * seed and the same program every run is the same.
 */
export class VirtualClock implements Clock {
  readonly #random: () => number;
  #nowMs = 0;
  #wallOffsetMs: number;
  #ids = 0;
  #orders = 0;
  /** Earliest first. */
  readonly #timers: Timer[] = [];
  #advancing: Promise<void> = Promise.resolve();
  #players = 0;
  #following = false;

  constructor(options: VirtualClockOptions = {}) {
    this.#random = seededRandom(options.seed ?? 1);
    this.#wallOffsetMs = options.wallMs ?? Date.UTC(2000, 0, 1);
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  random(): number {
    return this.#random();
  }

  /** The same sequence for the same seed. */
  id(): string {
    // A count at the end makes it unique; chance before it keeps the order of ids from telling the order of calls.
    const chance = Array.from({ length: 3 }, () => hex32(this.#random() * 2 ** 32));
    this.#ids += 1;
    return chance.join("") + hex32(this.#ids);
  }

  after(delayMs: number, callback: () => void): Disposable {
    this.#orders += 1;
    const timer: Timer = { at: this.#nowMs + Math.max(0, delayMs), order: this.#orders, callback };
    // Timers are few, and most are set to end last or nearly so.
    let place = this.#timers.length;
    while (place > 0 && (this.#timers[place - 1] as Timer).at > timer.at) place -= 1;
    this.#timers.splice(place, 0, timer);
    if (this.#players > 0) void this.#follow();
    return {
      [Symbol.dispose]: () => {
        const index = this.#timers.indexOf(timer);
        if (index >= 0) this.#timers.splice(index, 1);
      },
    };
  }

  /** Timers that have been set and have neither fired nor been cancelled. */
  get pendingTimers(): number {
    return this.#timers.length;
  }

  /** Moves the wall hand alone by so many milliseconds, forwards or back, as an operator or a time server does. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  /**
   * Lets so many milliseconds pass, 0 or more. Every timer that comes due fires at its own moment, in order, and the program does all it
   * can do before the next one fires and before the promise resolves. Calls made together run one after the other.
   * What a timer's callback throws rejects it. What the program does apart from this clock, with files or sockets, is
   * not waited for.
   */
  advance(ms: number): Promise<void> {
    if (!(ms >= 0 && ms < Number.POSITIVE_INFINITY)) {
      return Promise.reject(outOfRange("ms of advance", ms, "a number of milliseconds, at least 0"));
    }
    const advanced = this.#advancing.then(() => this.#advance(ms));
    this.#advancing = advanced.catch(() => {});
    return advanced;
  }

  async #advance(ms: number): Promise<void> {
    const end = this.#nowMs + ms;
    await settled();
    while (this.#timers[0] !== undefined && this.#timers[0].at <= end) {
      this.#fireNext();
      await settled();
    }
    this.#nowMs = Math.max(this.#nowMs, end);
  }

  /**
   * Lets time pass by itself until disposed, as fast as the program can follow: whenever it has nothing left to do, the
   * clock jumps to the next timer. Without timers time stands still.
   */
  play(): Disposable {
    let playing = true;
    this.#players += 1;
    void this.#follow();
    return {
      [Symbol.dispose]: () => {
        if (playing) this.#players -= 1;
        playing = false;
      },
    };
  }

  async #follow(): Promise<void> {
    if (this.#following) return;
    this.#following = true;
    try {
      for (;;) {
        await settled();
        // Ends with the last timer rather than waiting for another, so that an idle process can exit.
        if (this.#players === 0 || this.#timers.length === 0) return;
        this.#fireNext();
      }
    } finally {
      this.#following = false;
    }
  }

  #fireNext(): void {
    const timer = this.#timers.shift() as Timer;
    this.#nowMs = Math.max(this.#nowMs, timer.at);
    timer.callback();
  }
}

function hex32(number: number): string {
  return Math.floor(number).toString(16).padStart(8, "0");
}
