import { byteLength } from "./bytes.ts";
import type { Limits } from "./ports/backend.ts";
import type { CallOptions, Condition, Operation, Selection, Txn } from "./ports/kv.ts";

/** What a caller gave as a name, a number or an option, made readable and short for a message. */
function given(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "bigint") return `${value}n`;
  return kindOf(value);
}

/** What a caller gave to be stored: never the contents, which may be a secret. */
function kindOf(value: unknown): string {
  if (value == null) return String(value);
  if (typeof value === "object") return `an object of type ${value.constructor?.name ?? "null prototype"}`;
  return `a ${typeof value}`;
}

/** The error for an argument of a wrong type; names it, what was given (in short) and what is allowed. */
export function wrongType(argument: string, value: unknown, allowed: string): TypeError {
  return new TypeError(`${argument} must be ${allowed}, not ${given(value)}`);
}

/** The error for an argument of the right type that is not allowed; in the same words. */
export function outOfRange(argument: string, value: unknown, allowed: string): RangeError {
  return new RangeError(`${argument} must be ${allowed}, not ${given(value)}`);
}

/** A string that every store can hold: well-formed Unicode without NUL. Throws `TypeError` or `RangeError`. */
export function checkText(argument: string, value: unknown): asserts value is string {
  if (typeof value !== "string") throw wrongType(argument, value, "a string");
  if (!value.isWellFormed()) throw outOfRange(argument, value, "well-formed Unicode, without lone surrogates");
  if (value.includes("\0")) throw outOfRange(argument, value, "text without NUL");
}

/** Text to be stored, which no message shows. */
export function checkContent(argument: string, value: unknown): asserts value is string {
  if (typeof value !== "string") throw new TypeError(`${argument} must be a string, not ${kindOf(value)}`);
  if (!value.isWellFormed()) throw new RangeError(`${argument} must be well-formed Unicode, without lone surrogates`);
  if (value.includes("\0")) throw new RangeError(`${argument} must be text without NUL`);
}

/** The name of a lock, an election, a service: any non-empty text. */
export function checkName(argument: string, value: unknown): asserts value is string {
  checkText(argument, value);
  if (value === "") throw outOfRange(argument, value, "a name of at least one character");
}

/** Something to call. */
export function checkFunction(argument: string, value: unknown): void {
  if (typeof value !== "function") throw wrongType(argument, value, "a function");
}

/** A duration in milliseconds, more than 0; by default at most what a timer can wait, 2^31 - 1. Throws if not. */
export function checkMs(argument: string, value: unknown, mostMs: number = 2 ** 31 - 1): asserts value is number {
  if (typeof value !== "number") throw wrongType(argument, value, "a number of milliseconds");
  if (!(value > 0 && value <= mostMs))
    throw outOfRange(argument, value, `more than 0 and at most ${mostMs} milliseconds`);
}

/** How many of something: a whole number from 1 to `most`. Throws if not. */
export function checkCount(
  argument: string,
  value: unknown,
  most: number = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (typeof value !== "number") throw wrongType(argument, value, "a number");
  if (!(Number.isSafeInteger(value) && value >= 1 && value <= most))
    throw outOfRange(argument, value, `a whole number from 1 to ${most}`);
}

/**
 * An options object with only the named options, or undefined; a misspelt one must not silently do nothing. Throws if not,
 * and if its `signal` or `timeoutMs` is none.
 */
export function checkOptions(call: string, options: unknown, allowed: readonly string[]): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null) throw wrongType(`the options of ${call}`, options, "an object");
  for (const name of Object.keys(options)) {
    if (!allowed.includes(name)) {
      throw new TypeError(`${call} has no option ${given(name)}; it takes ${allowed.join(", ")}`);
    }
  }
  const { signal, timeoutMs } = options as CallOptions;
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw wrongType(`signal of ${call}`, signal, "an AbortSignal");
  if (timeoutMs !== undefined) checkMs(`timeoutMs of ${call}`, timeoutMs);
}

export const callOptions: readonly string[] = ["signal", "timeoutMs"];
export const selectionOptions: readonly string[] = ["order", "limit", "createdBefore", "startAfter", "keysOnly"];

/** A key: a non-empty text of bounded length. */
export function checkKey(argument: string, value: unknown, limits: Limits): asserts value is string {
  checkName(argument, value);
  checkKeyBytes(argument, value, limits);
}

/** A prefix may be empty: everything. */
export function checkPrefix(argument: string, value: unknown, limits: Limits): asserts value is string {
  checkText(argument, value);
  checkKeyBytes(argument, value, limits);
}

function checkKeyBytes(argument: string, value: string, limits: Limits): void {
  const bytes = byteLength(value);
  if (bytes > limits.maxKeyBytes) {
    throw new RangeError(`${argument} must be at most ${limits.maxKeyBytes} bytes of UTF-8, not ${bytes}`);
  }
}

/** Bytes to be stored, which no message shows. */
export function checkValue(argument: string, value: unknown, limits: Limits): asserts value is Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${argument} must be a Uint8Array, not ${kindOf(value)}`);
  if (value.length > limits.maxValueBytes)
    throw new RangeError(`${argument} must be at most ${limits.maxValueBytes} bytes, not ${value.length}`);
}

export function checkSelection(argument: string, selection: Selection): void {
  const { order, limit, createdBefore, startAfter, keysOnly } = selection;
  if (order !== undefined && !["key", "oldest", "newest"].includes(order)) {
    throw outOfRange(`order of ${argument}`, order, '"key", "oldest" or "newest"');
  }
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) {
    throw outOfRange(`limit of ${argument}`, limit, "a positive whole number");
  }
  if (createdBefore !== undefined) checkRevision(`createdBefore of ${argument}`, createdBefore);
  if (startAfter !== undefined) {
    checkText(`startAfter of ${argument}`, startAfter);
    if (order !== undefined && order !== "key")
      throw outOfRange(`order of ${argument}`, order, '"key" with startAfter');
  }
  if (keysOnly !== undefined && typeof keysOnly !== "boolean")
    throw wrongType(`keysOnly of ${argument}`, keysOnly, "a boolean");
}

function checkRevision(argument: string, value: unknown): void {
  if (typeof value !== "bigint") throw wrongType(argument, value, "a revision, which is a bigint");
}

const conditionFields: readonly string[] = [
  "key",
  "exists",
  "created",
  "modified",
  "prefix",
  "empty",
  "noneModifiedAfter",
];

function checkCondition(argument: string, condition: Condition, limits: Limits): void {
  if (typeof condition !== "object" || condition === null) throw wrongType(argument, condition, "a condition");
  checkOptions(argument, condition, conditionFields);
  // A second one would be ignored, and what it was to guard would not be.
  const ofPrefix = "empty" in condition || "noneModifiedAfter" in condition;
  if (Object.keys(condition).length !== 2 || "prefix" in condition !== ofPrefix) {
    throw new TypeError(
      `${argument} must be one condition: a key with exists, created or modified, or a prefix with empty or noneModifiedAfter`,
    );
  }
  if ("prefix" in condition) {
    checkPrefix(`prefix of ${argument}`, condition.prefix, limits);
    if ("noneModifiedAfter" in condition)
      checkRevision(`noneModifiedAfter of ${argument}`, condition.noneModifiedAfter);
    else if (condition.empty !== true) throw wrongType(`empty of ${argument}`, condition.empty, "true");
    return;
  }
  checkKey(`key of ${argument}`, condition.key, limits);
  if ("exists" in condition) {
    if (typeof condition.exists !== "boolean") throw wrongType(`exists of ${argument}`, condition.exists, "a boolean");
  } else if ("created" in condition) checkRevision(`created of ${argument}`, condition.created);
  else checkRevision(`modified of ${argument}`, condition.modified);
}

/** The bytes an operation adds to its transaction. */
function checkOperation(argument: string, operation: Operation, limits: Limits): number {
  if (typeof operation !== "object" || operation === null) throw wrongType(argument, operation, "an operation");
  if ("put" in operation) {
    checkOptions(argument, operation, ["put", "value", "lease"]);
    checkKey(`put of ${argument}`, operation.put, limits);
    checkValue(`value of ${argument}`, operation.value, limits);
    if (operation.lease !== undefined && typeof operation.lease?.id !== "string") {
      throw wrongType(`lease of ${argument}`, operation.lease, "a lease granted by this backend");
    }
    return byteLength(operation.put) + operation.value.length;
  }
  if ("delete" in operation) {
    checkOptions(argument, operation, ["delete"]);
    checkKey(`delete of ${argument}`, operation.delete, limits);
    return byteLength(operation.delete);
  }
  if ("get" in operation) {
    checkOptions(argument, operation, ["get"]);
    checkKey(`get of ${argument}`, operation.get, limits);
    return byteLength(operation.get);
  }
  if (!("list" in operation)) throw wrongType(argument, operation, "a put, a delete, a get or a list");
  checkOptions(argument, operation, ["list", ...selectionOptions]);
  checkPrefix(`list of ${argument}`, operation.list, limits);
  checkSelection(argument, operation);
  return byteLength(operation.list);
}

/** Refuses a transaction that some store would refuse, before any of it is sent. */
export function checkTxn(txn: Txn, limits: Limits): void {
  if (typeof txn !== "object" || txn === null)
    throw wrongType("txn", txn, "an object with then, and perhaps if and else");
  checkOptions("a transaction", txn, ["if", "then", "else"]);
  const branches = { if: txn.if ?? [], then: txn.then, else: txn.else ?? [] };
  for (const [name, items] of Object.entries(branches)) {
    if (!Array.isArray(items)) throw wrongType(`txn.${name}`, items, "an array");
    if (items.length > limits.maxOperations) {
      throw new RangeError(`txn.${name} must have at most ${limits.maxOperations} items, not ${items.length}`);
    }
  }
  for (const [index, condition] of branches.if.entries()) checkCondition(`txn.if[${index}]`, condition, limits);
  let bytes = 0;
  const written = new Set<string>();
  const leases = new Set<string>();
  for (const [index, operation] of branches.then.entries()) {
    bytes += checkOperation(`txn.then[${index}]`, operation, limits);
    const key = "put" in operation ? operation.put : "delete" in operation ? operation.delete : undefined;
    if (key !== undefined) {
      if (written.has(key))
        throw new RangeError(`txn.then[${index}] must write a key of its own; ${given(key)} is written twice`);
      written.add(key);
    }
    if ("put" in operation && operation.lease) leases.add(operation.lease.id);
  }
  for (const [index, read] of branches.else.entries()) {
    checkOperation(`txn.else[${index}]`, read, limits);
    if ("put" in read || "delete" in read)
      throw new TypeError(`txn.else[${index}] must be a get or a list; only then may write`);
  }
  if (leases.size > 1) throw new RangeError(`txn.then must attach at most one lease, not ${leases.size}`);
  if (bytes > limits.maxTxnBytes)
    throw new RangeError(`txn.then must be at most ${limits.maxTxnBytes} bytes, not ${bytes}`);
}
