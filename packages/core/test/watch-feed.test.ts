import { type WatchBatch, WatchFeed } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";

const batch = (revision: number): WatchBatch => ({ revision: BigInt(revision), changes: [] });

function feed(capacity?: number) {
  let ends = 0;
  const made = new WatchFeed(() => {
    ends += 1;
  }, capacity);
  return { feed: made, ends: () => ends };
}

async function take(from: AsyncIterator<WatchBatch>, count: number): Promise<unknown[]> {
  const taken: unknown[] = [];
  for (let index = 0; index < count; index++) {
    const { value } = await from.next();
    taken.push(value && ("gap" in value ? "gap" : Number(value.revision)));
  }
  return taken;
}

describe("a watch's feed", () => {
  test("gives batches in the order they were pushed, before and while the reader waits", async () => {
    const { feed: watch } = feed();
    watch.push(batch(1));
    watch.push(batch(2));
    const reader = watch[Symbol.asyncIterator]();
    expect(await take(reader, 2)).toEqual([1, 2]);
    const waiting = take(reader, 2);
    watch.push(batch(3));
    watch.push(batch(4));
    expect(await waiting).toEqual([3, 4]);
  });

  test("becomes one gap for a reader that falls behind, and goes on after it", async () => {
    const { feed: watch } = feed(3);
    const reader = watch[Symbol.asyncIterator]();
    for (let revision = 1; revision <= 4; revision++) watch.push(batch(revision));
    expect(watch.pending).toBe(1);
    watch.push(batch(5));
    expect(await take(reader, 2)).toEqual(["gap", 5]);
  });

  test("says when the reader has taken everything", async () => {
    const { feed: watch } = feed();
    let drained = 0;
    watch.drained = () => {
      drained += 1;
    };
    const reader = watch[Symbol.asyncIterator]();
    watch.push(batch(1));
    watch.push(batch(2));
    await take(reader, 1);
    expect(drained).toBe(0);
    await take(reader, 1);
    expect(drained).toBe(1);
  });

  test("ends once, by dispose, by the reader's leave or by an error, and then takes nothing", async () => {
    const left = feed();
    left.feed.push(batch(1));
    for await (const _ of left.feed) break;
    const disposed = feed();
    const waiting = disposed.feed[Symbol.asyncIterator]().next();
    await disposed.feed[Symbol.asyncDispose]();
    await disposed.feed[Symbol.asyncDispose]();
    expect(await waiting).toEqual({ value: undefined, done: true });
    const failed = feed();
    const failing = failed.feed[Symbol.asyncIterator]().next();
    failed.feed.push(batch(1));
    failed.feed.fail(new Error("broken"));
    failed.feed.fail(new Error("again"));
    await expect(failing).rejects.toThrow("broken");
    for (const { feed: watch, ends } of [left, disposed, failed]) {
      watch.push(batch(9));
      expect([watch.ended, ends(), watch.pending]).toEqual([true, 1, 0]);
    }
  });

  test("whose reader comes after its error tells it, and nothing of what came before", async () => {
    const { feed: watch } = feed();
    watch.push(batch(1));
    watch.fail(new Error("broken"));
    expect(watch.pending).toBe(0);
    await expect(watch[Symbol.asyncIterator]().next()).rejects.toThrow("broken");
  });
});
