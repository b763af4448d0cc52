import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";
import { eventually } from "../harness/eventually.ts";

/** What a holder and a second client saw, on one clock. */
export interface Sighting {
  /** When the hold's signal aborted. */
  readonly lostAt: number;
  /** When `isHeld` was last asked and said yes. */
  readonly lastHeldAt: number;
  /** When the second client no longer saw the key. */
  readonly vanishedAt: number;
}

export interface Sight extends AsyncDisposable {
  isLost(): boolean;
  /** Waits until the hold was lost and its key is gone. */
  outcome(): Promise<Sighting>;
}

/** Takes a lock through one set of endpoints, and has a second client look for its key through another. */
export async function holdAndWatch(options: {
  readonly holder: readonly string[];
  readonly observer: readonly string[];
  readonly name: string;
  readonly ttlMs: number;
}): Promise<Sight> {
  const { name, ttlMs } = options;
  const holder = await connect(etcd({ endpoints: options.holder }), { ttlMs });
  const observer = await connect(etcd({ endpoints: options.observer, callTimeoutMs: 500 }), { ttlMs });
  const hold = await holder.mutex(name).acquire();
  let lostAt: number | undefined;
  let lastHeldAt = 0;
  hold.signal.addEventListener("abort", () => {
    lostAt = performance.now();
  });
  const sampling = setInterval(() => {
    const asked = performance.now();
    if (hold.isHeld()) lastHeldAt = asked;
  }, 5);
  const vanished = eventually(async () => (await observer.kv.get(hold.key)) === undefined && performance.now(), {
    timeoutMs: 60_000,
    everyMs: 10,
  });
  vanished.catch(() => {});
  return {
    isLost: () => lostAt !== undefined,
    outcome: async () => {
      const vanishedAt = await vanished;
      return { lostAt: lostAt ?? Number.POSITIVE_INFINITY, lastHeldAt, vanishedAt };
    },
    [Symbol.asyncDispose]: async () => {
      clearInterval(sampling);
      await Promise.all([holder.close(), observer.close()]);
    },
  };
}
