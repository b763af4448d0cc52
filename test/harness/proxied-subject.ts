import type { Subject, Timing } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";

/** One process's own way to its store. */
export interface Way {
  /** How many round trips were made on it. */
  readonly turns: number;
  /** Resets every connection, and lets nobody in any more. */
  refuse(): Promise<void>;
  /** Ends it for good. */
  stop(): Promise<void>;
}

/** A store to be put to the suite. */
export interface ProxiedStore<W extends Way> {
  readonly timing: Timing;
  /** Lays a way to it. */
  readonly lay: () => Promise<W>;
  readonly connect: (way: W) => Promise<Backend>;
  /** Ends it, after all processes. */
  readonly close?: () => PromiseLike<void>;
}

/** A store as the suite tests it: each process has a way of its own, on which its round trips are counted, and it can be cut off. */
export function proxied<W extends Way>({ timing, lay, connect, close }: ProxiedStore<W>): Subject {
  const ways = new Map<Backend, W>();
  return {
    timing,
    async connect() {
      const way = await lay();
      const backend = await connect(way);
      const process: Backend = {
        ...backend,
        [Symbol.asyncDispose]() {
          const closing = backend[Symbol.asyncDispose]();
          // At once, since the suite starts more processes than there are ports.
          void closing.then(() => way.stop());
          return closing;
        },
      };
      ways.set(process, way);
      return process;
    },
    kill: async (backend) => ways.get(backend)?.refuse(),
    roundTrips: (backend) => ways.get(backend)?.turns ?? 0,
    async [Symbol.asyncDispose]() {
      for (const way of ways.values()) await way.stop();
      await close?.();
    },
  };
}
