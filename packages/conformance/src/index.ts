export { type Costs, oneRoundTripEach } from "./costs.ts";
export { type Activity, type CountingBackend, counting, type RoundTrips } from "./counting.ts";
export { describeBackend, describePortContract } from "./describe-backend.ts";
export type { CallKind } from "./intercepted.ts";
export { type Injected, type JitteredBackend, type JitterOptions, jitter } from "./jitter.ts";
export { faultSeeds } from "./seeds.ts";
export type { Subject, Timing } from "./subject.ts";
