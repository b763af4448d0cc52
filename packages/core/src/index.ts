export { CoordinationError, type ErrorCode, isCoordinationError } from "./errors.ts";
export { scoped } from "./scoped.ts";
