import { type MemoryBackend, MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { describeBackend } from "@conclave/conformance";

for (const mode of ["strong", "weak"] as const) {
  describeBackend(`memory, ${mode}`, async () => {
    const clock = new VirtualClock();
    const store = new MemoryStore({ clock, mode });
    const playing = clock.play();
    await using client = await store.connect();
    const { expiryLagMs, watchDelayMs } = client.guarantees;
    return {
      connect: () => store.connect(),
      kill: async (backend) => (backend as MemoryBackend).disconnect(),
      timing: { ttlMs: 100, expiryLagMs, watchDelayMs },
      [Symbol.asyncDispose]: async () => playing[Symbol.dispose](),
    };
  });
}
