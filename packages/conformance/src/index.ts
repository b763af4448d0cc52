export { describeBackend } from "./describe-backend.ts";
export type { Subject, Timing } from "./subject.ts";
