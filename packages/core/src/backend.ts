/** What the author of a backend needs: the ports, the checks that stand before every adapter, and a few helpers. */
export {
  type AdapterOptions,
  type AdapterSettings,
  checkAdapterOptions,
  checkTls,
  checkUser,
  type TlsOptions,
  type TlsSettings,
  type User,
} from "./adapter-options.ts";
export { checkMs, checkOptions, checkText, outOfRange, wrongType } from "./arguments.ts";
export { backoffMs } from "./backoff.ts";
export { byteLength, compareKeys, decode, encode, noBytes } from "./bytes.ts";
export { checked } from "./checked.ts";
export { CoordinationError, type ErrorCode, isCoordinationError } from "./errors.ts";
export type * from "./ports/backend.ts";
export { portableLimits } from "./ports/backend.ts";
export { type Clock, elapsedMs, type Instant, instant, systemClock } from "./ports/clock.ts";
export type * from "./ports/kv.ts";
export type * from "./ports/leases.ts";
export type * from "./ports/watches.ts";
export { scoped } from "./scoped.ts";
export { seededRandom } from "./seeded-random.ts";
export { abortable, linkSignals, onAbort, sleep } from "./signals.ts";
export { WatchFeed } from "./watch-feed.ts";
