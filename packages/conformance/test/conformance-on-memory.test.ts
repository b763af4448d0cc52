import { type MemoryBackend, MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { describeBackend } from "@conclave/conformance";

describeBackend("memory", async () => {
  const clock = new VirtualClock();
  const playing = clock.play();
  const store = new MemoryStore({ clock });
  return {
    connect: async () => store.connect(),
    kill: async (backend) => (backend as MemoryBackend).disconnect(),
    timing: { ttlMs: 1_000, expiryLagMs: 0, watchDelayMs: 0 },
    [Symbol.asyncDispose]: async () => playing[Symbol.dispose](),
  };
});
