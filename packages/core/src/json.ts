import { decode, encode } from "./bytes.ts";
import { CoordinationError } from "./errors.ts";
import type { Entry } from "./ports/kv.ts";

/** Anything JSON can carry. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/**
 * A value as it is stored. Throws `TypeError` for what JSON cannot carry as it is given: `undefined`, functions, bigints,
 * `NaN`, what refers to itself; never with the value's own words, which may be secret.
 */
export function encodeJson(argument: string, value: unknown): Uint8Array {
  const wrong = (what: string) => new TypeError(`${argument} must be something that JSON can carry, not ${what}`);
  let text: string | undefined;
  let refused: string | undefined;
  try {
    text = JSON.stringify(value, function (this: unknown, _, part: unknown) {
      const kind = typeof part;
      if (kind === "number" && !Number.isFinite(part)) refused ??= String(part);
      // An absent property is as good as none; an absent item would become null.
      if (kind === "function" || kind === "symbol" || (part === undefined && Array.isArray(this))) refused ??= kind;
      if (kind === "string" && !(part as string).isWellFormed()) refused ??= "text with lone surrogates";
      return part;
    });
  } catch {
    throw wrong("a bigint, or what refers to itself, or what fails when it is read");
  }
  if (text === undefined || refused !== undefined) throw wrong(refused ?? "undefined");
  return encode(text);
}

/** What `encodeJson` wrote; throws `CORRUPT` for what it cannot have written. */
export function decodeJson({ key, value }: Pick<Entry, "key" | "value">): Json {
  try {
    return JSON.parse(decode(value)) as Json;
  } catch {
    throw new CoordinationError("CORRUPT", `the value of the key ${key} is not JSON`);
  }
}
