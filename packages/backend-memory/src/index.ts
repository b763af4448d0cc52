export type { MemoryBackend } from "./memory-backend.ts";
export { MemoryStore, type MemoryStoreOptions, memory } from "./memory-store.ts";
export { VirtualClock, type VirtualClockOptions } from "./virtual-clock.ts";
