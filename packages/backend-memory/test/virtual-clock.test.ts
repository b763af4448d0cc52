import { VirtualClock } from "@conclave/backend-memory";
import { describe, expect, test } from "vitest";

describe("VirtualClock", () => {
  test("stands still until it is told to advance", async () => {
    const clock = new VirtualClock();
    const before = [clock.monotonicMs(), clock.wallMs()];
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect([clock.monotonicMs(), clock.wallMs()]).toEqual(before);
    await clock.advance(1_500);
    expect(clock.monotonicMs()).toBe(1_500);
    expect(new Date(clock.wallMs()).toISOString()).toBe("2000-01-01T00:00:01.500Z");
  });

  test("fires timers by time, those of one moment in the order they were set, each at its own moment", async () => {
    const clock = new VirtualClock();
    const fired: string[] = [];
    const note = (name: string) => () => void fired.push(`${name}@${clock.monotonicMs()}`);
    clock.after(20, note("late"));
    clock.after(10, note("first"));
    clock.after(10, note("second"));
    clock.after(0, note("now"));
    clock.after(-5, note("overdue"));
    await clock.advance(20);
    expect(fired).toEqual(["now@0", "overdue@0", "first@10", "second@10", "late@20"]);
  });

  test("leaves what is due later, to the fraction of a millisecond", async () => {
    const clock = new VirtualClock();
    let fired = 0;
    clock.after(10.5, () => (fired += 1));
    await clock.advance(10.25);
    expect([fired, clock.pendingTimers]).toEqual([0, 1]);
    await clock.advance(0.25);
    expect([fired, clock.pendingTimers]).toEqual([1, 0]);
  });

  test("does not fire a cancelled timer, nor mind that one is cancelled late or twice", async () => {
    const clock = new VirtualClock();
    let fired = 0;
    const cancelled = clock.after(5, () => (fired += 100));
    const kept = clock.after(5, () => (fired += 1));
    cancelled[Symbol.dispose]();
    cancelled[Symbol.dispose]();
    expect(clock.pendingTimers).toBe(1);
    await clock.advance(5);
    kept[Symbol.dispose]();
    expect([fired, clock.pendingTimers]).toEqual([1, 0]);
  });

  test("fires the timers that timers set within the time that passes", async () => {
    const clock = new VirtualClock();
    const at: number[] = [];
    const again = () => {
      at.push(clock.monotonicMs());
      clock.after(3, again);
    };
    clock.after(3, again);
    await clock.advance(10);
    expect(at).toEqual([3, 6, 9]);
  });

  test("lets the program do all it can before, between and after timers", async () => {
    const clock = new VirtualClock();
    const done: string[] = [];
    const chain = async (name: string) => {
      for (let step = 0; step < 1_000; step += 1) await undefined;
      done.push(`${name}@${clock.monotonicMs()}`);
    };
    void chain("before").then(() => clock.after(1, () => void chain("set meanwhile")));
    clock.after(2, () => void chain("second"));
    clock.after(3, () => void chain("third"));
    await clock.advance(10);
    expect(done).toEqual(["before@0", "set meanwhile@1", "second@2", "third@3"]);
  });

  test("runs advances made together one after the other", async () => {
    const clock = new VirtualClock();
    const ends: number[] = [];
    const note = () => ends.push(clock.monotonicMs());
    await Promise.all([clock.advance(10).then(note), clock.advance(5).then(note)]);
    expect(ends).toEqual([10, 15]);
  });

  test("rejects an advance whose timer throws, and goes on afterwards", async () => {
    const clock = new VirtualClock();
    clock.after(1, () => {
      throw new Error("from the timer");
    });
    await expect(clock.advance(2)).rejects.toThrow("from the timer");
    await clock.advance(2);
    expect(clock.monotonicMs()).toBe(3);
  });

  test("refuses to go back", async () => {
    const clock = new VirtualClock();
    await expect(clock.advance(-1)).rejects.toThrow(RangeError);
    await expect(clock.advance(Number.NaN)).rejects.toThrow(RangeError);
  });

  test("steps the wall hand alone", async () => {
    const clock = new VirtualClock({ wallMs: 1_000 });
    clock.stepWall(-400);
    expect([clock.monotonicMs(), clock.wallMs()]).toEqual([0, 600]);
    await clock.advance(10);
    expect([clock.monotonicMs(), clock.wallMs()]).toEqual([10, 610]);
  });

  test("plays by itself, from timer to timer, until disposed", async () => {
    const clock = new VirtualClock();
    const wait = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve));
    const playing = clock.play();
    for (let hour = 0; hour < 100; hour += 1) await wait(3_600_000);
    expect(clock.monotonicMs()).toBe(360_000_000);
    playing[Symbol.dispose]();
    void wait(1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect([clock.monotonicMs(), clock.pendingTimers]).toEqual([360_000_000, 1]);
  });

  test("while playing, lets the program finish before it jumps", async () => {
    const clock = new VirtualClock();
    using _playing = clock.play();
    const wait = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve));
    let tick = 0;
    const beats = (async () => {
      for (; tick < 10; tick += 1) await wait(10);
    })();
    for (let step = 0; step < 5_000; step += 1) await undefined;
    expect([tick, clock.monotonicMs()]).toEqual([0, 0]);
    await beats;
    expect(clock.monotonicMs()).toBe(100);
  });

  test("plays until the last of several players is disposed", async () => {
    const clock = new VirtualClock();
    const [one, other] = [clock.play(), clock.play()];
    one[Symbol.dispose]();
    one[Symbol.dispose]();
    await new Promise<void>((resolve) => void clock.after(7, resolve));
    expect(clock.monotonicMs()).toBe(7);
    other[Symbol.dispose]();
  });

  test("never goes back, though it is advanced while it plays on ahead", async () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    const again = () => {
      seen.push(clock.monotonicMs());
      if (seen.length < 100) clock.after(7, again);
    };
    again();
    using _playing = clock.play();
    while (seen.length < 100) {
      await clock.advance(3);
      seen.push(clock.monotonicMs());
    }
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test("gives the same chances and ids for the same seed, others for another, and no id twice", () => {
    const draw = (seed: number) => {
      const clock = new VirtualClock({ seed });
      return Array.from({ length: 1_000 }, () => `${clock.random()} ${clock.id()}`);
    };
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    const clock = new VirtualClock();
    const ids = Array.from({ length: 1_000 }, () => clock.id());
    expect(new Set(ids).size).toBe(1_000);
    expect(ids.every((id) => /^[0-9a-f]{32}$/.test(id))).toBe(true);
    expect([...ids].sort()).not.toEqual(ids);
    expect(Array.from({ length: 1_000 }, () => clock.random()).every((chance) => chance >= 0 && chance < 1)).toBe(true);
  });
});
