import { createHash } from "node:crypto";
import type { Effect } from "./outcome.ts";

/** What goes to the server: text as UTF-8, numbers in decimal, bytes as they are. */
export type Argument = string | number | Uint8Array;

/** What comes back: text is bytes too. An error reply is thrown. */
export type Reply = Buffer | number | null | readonly Reply[];

/** A Lua script and the name it has on servers that know it. */
export interface Script {
  readonly source: string;
  readonly sha1: string;
}

/** Names a script by its contents. */
export function script(source: string): Script {
  return { source, sha1: createHash("sha1").update(source).digest("hex") };
}

/** One run of a script, over keys of one hash tag. */
export interface ScriptCall {
  /** What messages call it: "commit", "list". */
  readonly name: string;
  readonly effect: Effect;
  readonly script: Script;
  readonly keys: readonly string[];
  readonly args: readonly Argument[];
}

/**
 * One TCP connection to the primary, from its first moment to its end; what it sends is sent at most once, and what is
 * unanswered when it ends rejects. Failures come out as the server or the socket gave them.
 */
export interface Link {
  /** Aborts when the connection ended, with the reason. */
  readonly ended: AbortSignal;
  /** One plain command. `quietMs`: how long the server may say nothing while it has this to answer, such as BLOCK's time. */
  send(command: string, args: readonly Argument[], quietMs?: number): Promise<Reply>;
  /** One run of a script, sent whole where the server does not know it. */
  run(call: ScriptCall): Promise<Reply>;
  /** Ends it: whoever waits for an answer gets `reason`. */
  drop(reason: Error): void;
}
