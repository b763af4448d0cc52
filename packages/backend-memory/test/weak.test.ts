import { type MemoryBackend, MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { type Change, decode, type Entry, encode, type Lease, type Watch } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";

function weakStore(seed: number): { readonly clock: VirtualClock; readonly store: MemoryStore } {
  const clock = new VirtualClock({ seed });
  return { clock, store: new MemoryStore({ clock, mode: "weak", seed }) };
}

/** What was true of a key from one revision to the next, as its writer learned from the answers. */
interface Truth {
  readonly revision: bigint;
  readonly entry: Entry | undefined;
}

/** Follows keys through a watch as a careful reader does, and counts the ways in which the watch was weak. */
class Follower {
  readonly state = new Map<string, Entry>();
  readonly counts = {
    batches: 0,
    gaps: 0,
    late: 0,
    rebornShown: 0,
    unorderedBatches: 0,
    mergedIncarnations: 0,
  };
  readonly deletes: Change[] = [];
  readonly puts: Change[] = [];
  /** Of each batch: after which revision, up to which, and the puts it showed of all that happened between. */
  readonly batches: { readonly after: bigint; readonly upTo: bigint; readonly puts: ReadonlySet<bigint> }[] = [];
  #last = 0n;
  #lastShown = 0n;

  constructor(backend: MemoryBackend, watch: Watch, start: bigint, newest: () => bigint) {
    this.#last = start;
    void (async () => {
      for await (const batch of watch) {
        this.counts.batches += 1;
        if ("gap" in batch) {
          this.counts.gaps += 1;
          const { entries, revision } = await backend.kv.list("");
          this.state.clear();
          for (const entry of entries) this.state.set(entry.key, entry);
          this.#last = revision;
          continue;
        }
        if (batch.revision < newest()) this.counts.late += 1;
        if (batch.revision <= this.#lastShown) this.counts.unorderedBatches += 1;
        this.#lastShown = batch.revision;
        // What the look after a gap had shown already.
        if (batch.revision <= this.#last) continue;
        const puts = new Set(batch.changes.map(({ entry }) => entry?.modified).filter((it) => it !== undefined));
        this.batches.push({ after: this.#last, upTo: batch.revision, puts });
        this.#last = batch.revision;
        for (const change of batch.changes) this.#take(change);
      }
    })();
  }

  #take(change: Change): void {
    const { key, entry } = change;
    const old = this.state.get(key);
    if (entry === undefined) {
      this.deletes.push(change);
      this.state.delete(key);
      return;
    }
    this.puts.push(change);
    if (old && old.created !== entry.created) this.counts.mergedIncarnations += 1;
    if (this.deletes.at(-1)?.modified === entry.created - 1n) this.counts.rebornShown += 1;
    this.state.set(key, entry);
  }
}

/** A few hundred writes to a few keys with random pauses, and all that is true of them. */
async function churn(seed: number) {
  const { clock, store } = weakStore(seed);
  using _playing = clock.play();
  const [writer, reader] = [await store.connect(), await store.connect()];
  const history = new Map<string, Truth[]>();
  let newest = 0n;
  const start = (await writer.kv.list("")).revision;
  const follower = new Follower(reader, await reader.watches.watch({ prefix: "" }), start, () => newest);
  const leases: Lease[] = [
    await writer.leases.grant({ ttlMs: 3_600_000 }),
    await writer.leases.grant({ ttlMs: 3_600_000 }),
  ];
  const jumps: bigint[] = [];
  let moved = 0;
  let previous = start;
  for (let step = 0; step < 400; step += 1) {
    const key = `k${Math.floor(clock.random() * 4)}`;
    const truths = history.get(key) ?? [];
    history.set(key, truths);
    if (clock.random() < 0.25) {
      const { revision, results } = await writer.kv.commit({ then: [{ delete: key }] });
      if (results[0]) truths.push({ revision, entry: undefined });
    } else {
      const lease = clock.random() < 0.5 ? leases[step % 2] : undefined;
      const before = await writer.kv.get(key);
      const { revision } = await writer.kv.commit({ then: [{ put: key, value: encode(`${step}`), lease }] });
      const entry = (await writer.kv.get(key)) as Entry;
      truths.push({ revision, entry });
      if (before && before.created !== entry.created) {
        moved += 1;
        expect(before.lease).not.toBe(entry.lease);
      } else if (before) expect(before.lease).toBe(entry.lease);
    }
    const now = (await writer.kv.list("")).revision;
    if (now > previous) jumps.push(now - previous);
    previous = now;
    newest = now;
    if (clock.random() < 0.7) await new Promise<void>((resolve) => void clock.after(clock.random() * 6, resolve));
  }
  await new Promise<void>((resolve) => void clock.after(100, resolve));
  return { follower, history, jumps, moved, start, final: (await writer.kv.list("")).entries };
}

/** Whether a key was absent at a revision. */
function absentAt(truths: readonly Truth[], revision: bigint): boolean {
  const at = truths.findLast((truth) => truth.revision <= revision);
  if (at?.entry === undefined) return true;
  if (at.revision === revision) return false;
  // A put that moved it to another lease made it absent for the one revision below its own.
  const next = truths.find((truth) => truth.revision > revision);
  return next?.entry !== undefined && next.entry.created === next.revision && next.revision - 1n === revision;
}

describe("a weak memory store", () => {
  test("is weak in every way it may be, and a careful reader still ends with the truth", async () => {
    const total = { late: 0, gaps: 0, skipped: 0, rebornShown: 0, moved: 0, bounds: 0, sparse: 0, far: 0 };
    for (let seed = 1; seed <= 10; seed += 1) {
      const { follower, history, jumps, moved, start, final } = await churn(seed);
      expect(start).toBeGreaterThan(BigInt(Number.MAX_SAFE_INTEGER));
      expect([...follower.state.values()].sort((a, b) => (a.key < b.key ? -1 : 1))).toEqual(final);
      expect(follower.counts).toMatchObject({ mergedIncarnations: 0, unorderedBatches: 0 });
      for (const { key, modified } of follower.deletes) {
        const truths = history.get(key) as Truth[];
        expect(absentAt(truths, modified), `${key} absent at ${modified}`).toBe(true);
        if (!truths.some(({ revision }) => revision === modified)) total.bounds += 1;
      }
      for (const { key, modified, entry } of follower.puts) {
        const truth = history.get(key)?.find(({ revision }) => revision === modified)?.entry;
        expect(entry).toEqual(truth);
      }
      total.late += follower.counts.late;
      total.gaps += follower.counts.gaps;
      const puts = [...history.values()].flat().filter(({ entry }) => entry !== undefined);
      for (const { after, upTo, puts: shown } of follower.batches) {
        const inside = puts.filter(({ revision }) => revision > after && revision <= upTo);
        total.skipped += inside.filter(({ revision }) => !shown.has(revision)).length;
      }
      total.rebornShown += follower.counts.rebornShown;
      total.moved += moved;
      total.sparse += jumps.filter((jump) => jump > 1n).length;
      total.far += jumps.filter((jump) => jump > 1_000n).length;
    }
    for (const [way, count] of Object.entries(total)) expect(count, way).toBeGreaterThan(50);
  });

  test("is weak in the same way for the same seed", async () => {
    const seen = async (seed: number) => {
      const { follower, final } = await churn(seed);
      return { counts: follower.counts, puts: follower.puts, final };
    };
    const first = await seen(7);
    expect(await seen(7)).toEqual(first);
    expect(await seen(8)).not.toEqual(first);
  });

  test("is weak in another way for another seed on the same clock", async () => {
    const clock = new VirtualClock();
    const revisions = async (seed: number) => {
      const backend = await new MemoryStore({ clock, mode: "weak", seed }).connect();
      const commits = Array.from({ length: 10 }, () => backend.kv.commit({ then: [{ put: "a", value: encode("") }] }));
      return (await Promise.all(commits)).map(({ revision }) => revision);
    };
    expect(await revisions(1)).toEqual(await revisions(1));
    expect(await revisions(1)).not.toEqual(await revisions(2));
  });

  test("grants more than asked and takes the keys late, within what it says of itself", async () => {
    const { clock, store } = weakStore(1);
    using _playing = clock.play();
    const backend = await store.connect();
    const lateness: number[] = [];
    for (let count = 1; count <= 60; count += 1) {
      const grantedAt = clock.monotonicMs();
      const lease = await backend.leases.grant({ ttlMs: 60 });
      expect(lease.ttlMs).toBe(100);
      const key = `key ${count}`;
      await backend.kv.commit({ then: [{ put: key, value: encode(""), lease }] });
      while (await backend.kv.get(key)) await new Promise<void>((resolve) => void clock.after(1, resolve));
      lateness.push(clock.monotonicMs() - grantedAt - lease.ttlMs);
    }
    expect(Math.min(...lateness)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...lateness)).toBeLessThanOrEqual(backend.guarantees.expiryLagMs);
    expect(new Set(lateness).size).toBeGreaterThan(10);
    expect(backend.limits.minTtlMs).toBe(50);
  });

  test("may show a transaction what came after its writes, and says so in readAt", async () => {
    const { store } = weakStore(1);
    const clients = await Promise.all([store.connect(), store.connect(), store.connect()]);
    let laterArrivals = 0;
    for (let round = 0; round < 100; round += 1) {
      const prefix = `line ${round}/`;
      const commits = await Promise.all(
        clients.map((client, index) =>
          client.kv.commit({ then: [{ put: prefix + index, value: encode("") }, { list: prefix }] }),
        ),
      );
      for (const { succeeded, revision, readAt, results } of commits) {
        if (!succeeded) throw new Error("without conditions every commit succeeds");
        const listing = results[1];
        expect(listing.revision).toBe(readAt);
        expect(listing.entries.some((entry) => entry.created === revision)).toBe(true);
        const later = listing.entries.filter((entry) => entry.created > revision);
        if (later.length > 0) laterArrivals += 1;
        expect(readAt >= revision).toBe(true);
        if (later.length > 0) expect(readAt).toBeGreaterThan(revision);
      }
      const looked = await clients[0].kv.commit({ if: [{ prefix, empty: true }], then: [], else: [{ list: prefix }] });
      expect([looked.succeeded, looked.readAt]).toEqual([false, looked.revision]);
    }
    expect(laterArrivals).toBeGreaterThan(50);
  });

  test("shows no revision twice to a client that was cut off, and the rest after it", async () => {
    const { clock, store } = weakStore(3);
    using _playing = clock.play();
    const [alice, bob] = [await store.connect(), await store.connect()];
    const shown: (bigint | "gap")[] = [];
    const watch = await alice.watches.watch({ key: "a" });
    void (async () => {
      for await (const batch of watch) shown.push("gap" in batch ? "gap" : batch.revision);
    })();
    const pause = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve));
    for (let round = 0; round < 50; round += 1) {
      await bob.kv.commit({ then: [{ put: "a", value: encode(`${round}`) }] });
      alice.disconnect();
      const before = shown.length;
      await bob.kv.commit({ then: [{ put: "a", value: encode(`${round} again`) }] });
      await pause(20);
      expect(shown.length).toBe(before);
      alice.reconnect();
      await pause(20);
      expect(shown.length).toBeGreaterThan(before);
      const entry = (await bob.kv.get("a")) as Entry;
      expect(decode(entry.value)).toBe(`${round} again`);
      expect(["gap", entry.modified]).toContain(shown.at(-1));
    }
    const revisions = shown.filter((one) => one !== "gap");
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => (a < b ? -1 : 1)));
    expect(shown.filter((one) => one === "gap").length).toBeGreaterThan(0);
  });

  test("leaves no timer of a watch behind when the watch or its client is closed", async () => {
    const { clock, store } = weakStore(1);
    const [alice, bob] = [await store.connect(), await store.connect()];
    await alice.watches.watch({ key: "a" });
    const watch = await bob.watches.watch({ key: "a" });
    await bob.kv.commit({ then: [{ put: "a", value: encode("") }] });
    expect(clock.pendingTimers).toBe(2);
    await watch[Symbol.asyncDispose]();
    expect(clock.pendingTimers).toBe(1);
    await alice[Symbol.asyncDispose]();
    expect(clock.pendingTimers).toBe(0);
  });

  test("must be asked for by its name", () => {
    expect(() => new MemoryStore({ mode: "flaky" as "weak" })).toThrow(RangeError);
    expect(() => new MemoryStore({ moed: "weak" } as object)).toThrow(TypeError);
  });
});
