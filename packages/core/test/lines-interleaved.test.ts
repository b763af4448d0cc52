import { MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { type Conclave, connect, type Hold } from "@conclave/core";
import { seededRandom } from "@conclave/core/backend";
import { expect, test } from "vitest";
import { deletes, Faulty, failure, keys, outcome, puts } from "./kit.ts";

/** So long that nothing is put right by a renewal, nor by the slow second look of who waits. */
const ttlMs = 20_000_000;
const permits = 4;

interface Turn {
  readonly weight: number;
  readonly exclusive: boolean;
}

/** How each lock is taken; holders exclude each other by weight, or altogether. */
const locks: Record<string, (conclave: Conclave, turn: Turn, signal: AbortSignal) => Promise<Hold>> = {
  semaphore: (conclave, { weight }, signal) => conclave.semaphore("a", { limit: permits }).acquire({ weight, signal }),
  rwLock: (conclave, { exclusive }, signal) => conclave.rwLock("a")[exclusive ? "write" : "read"]({ signal }),
  mutex: (conclave, { weight }, signal) => conclave.mutex("a", { maxLocalHandovers: weight }).acquire({ signal }),
};

/** How many hold it when everybody has heard of everything. */
const due: Record<string, (conclave: Conclave) => Promise<number>> = {
  semaphore: async (conclave) => (await conclave.semaphore("a").queue()).filter(({ granted }) => granted).length,
  rwLock: async (conclave) => {
    const modes = (await conclave.rwLock("a").queue()).map(({ mode }) => mode);
    const readers = modes.includes("write") ? modes.indexOf("write") : modes.length;
    return modes[0] === "write" ? 1 : readers;
  },
  mutex: async (conclave) => Math.min(1, (await conclave.mutex("a").queue()).length),
};

function isAllowed(lock: string, holders: readonly Turn[]): boolean {
  if (lock === "semaphore") return holders.reduce((sum, { weight }) => sum + weight, 0) <= permits;
  return holders.length < 2 || (lock === "rwLock" && holders.every(({ exclusive }) => !exclusive));
}

/** Three processes whose calls overlap in any way, and lose answers; then all who wait must get their turn. */
async function interleave(lock: string, mode: "strong" | "weak", seed: number): Promise<void> {
  const random = seededRandom(seed);
  const upTo = (most: number) => Math.floor(random() * most);
  const clock = new VirtualClock({ seed });
  const store = new MemoryStore({ mode, seed, clock });
  const other = await store.connect();
  const pause = () => new Promise<void>((resolve) => void clock.after(upTo(8), resolve));
  const start = async () => {
    const backend = new Faulty(await store.connect());
    backend.fault = async (call, proceed) => {
      if (random() < 0.7) await pause();
      const answer = await proceed();
      if (puts(call) && !deletes(call) && random() < 0.15) throw failure("OUTCOME_UNKNOWN");
      if (random() < 0.7) await pause();
      return answer;
    };
    return connect(backend, { ttlMs });
  };
  const observer = await connect(other);
  const conclaves = [await start(), await start(), await start()];
  const turns: (Turn & { controller: AbortController; seen: ReturnType<typeof outcome<Hold>>; over: boolean })[] = [];
  const take = () => {
    const controller = new AbortController();
    const turn = { weight: 1 + upTo(3), exclusive: random() < 0.4, controller, over: false };
    const acquiring = (locks[lock] as (typeof locks)[string])(conclaves[upTo(3)] as Conclave, turn, controller.signal);
    const one = Object.assign(turn, { seen: outcome(acquiring) });
    turns.push(one);
    // It may have been granted at the moment it was given up.
    void acquiring.then(
      (hold) => (one.over ? hold.release() : undefined),
      () => {},
    );
  };
  const end = (turn: (typeof turns)[number] | undefined) => {
    if (!turn) return;
    turn.over = true;
    if (turn.seen.value) void turn.seen.value.release();
    else turn.controller.abort("enough");
  };
  const holding = () => turns.filter(({ over, seen }) => !over && seen.value?.isHeld());
  const pass = async (ms: number) => {
    await clock.advance(ms);
    const holders = holding();
    expect(isAllowed(lock, holders), `seed ${seed}`).toBe(true);
  };
  for (let step = 0; step < 60; step++) {
    const ending = turns.filter(({ over, seen }) => !over && (seen.value || random() < 0.3));
    if (random() < 0.55) take();
    else end(ending[upTo(ending.length)]);
    for (let left = upTo(12); left > 0; left--) await pass(1);
  }
  for (let left = turns.length; left > 0; left--) {
    await pass(10_000);
    const holders = holding();
    expect(holders.length, `who has heard of its turn, seed ${seed}`).toBe(await due[lock]?.(observer));
    end(holders[upTo(holders.length)]);
  }
  await pass(10_000);
  expect(
    turns.filter(({ over }) => !over),
    `who waits for ever, seed ${seed}`,
  ).toEqual([]);
  expect((await keys(other)).filter((key) => !key.endsWith("/limit"))).toEqual([]);
}

test.each(Object.keys(locks).flatMap((lock) => [[lock, "strong"] as const, [lock, "weak"] as const]))(
  "everyone gets a turn at a %s, however calls overlap and answers are lost (%s)",
  async (lock, mode) => {
    for (let seed = 1; seed <= 20; seed++) await interleave(lock, mode, seed);
  },
);
