import { type MemoryBackend, MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { describeBackend, jitter } from "@conclave/conformance";
import type { Backend } from "@conclave/core/backend";

// Calls that overtake each other, answers and batches that come late, gaps that are none: all within the contract.
describeBackend("memory behind a slow network", async () => {
  const clock = new VirtualClock();
  const playing = clock.play();
  const store = new MemoryStore({ clock });
  const clients = new Map<Backend, MemoryBackend>();
  return {
    async connect() {
      const client = await store.connect();
      const slow = jitter(client, clients.size, { delayMs: 5, faults: 0 });
      clients.set(slow, client);
      return slow;
    },
    kill: async (backend) => clients.get(backend)?.disconnect(),
    timing: { ttlMs: 1_000, expiryLagMs: 0, watchDelayMs: 50 },
    [Symbol.asyncDispose]: async () => playing[Symbol.dispose](),
  };
});
