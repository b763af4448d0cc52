import { type MemoryBackend, MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { describeBackend } from "@conclave/conformance";

for (const mode of ["strong", "weak"] as const) {
  describeBackend(`memory, ${mode}`, async () => {
    const clock = new VirtualClock();
    const store = new MemoryStore({ clock, mode });
    const playing = clock.play();
    const timing =
      mode === "strong"
        ? { ttlMs: 100, expiryLagMs: 0, watchDelayMs: 0 }
        : { ttlMs: 100, expiryLagMs: 30, watchDelayMs: 10 };
    return {
      connect: () => store.connect(),
      kill: async (backend) => (backend as MemoryBackend).disconnect(),
      timing,
      [Symbol.asyncDispose]: async () => playing[Symbol.dispose](),
    };
  });
}
