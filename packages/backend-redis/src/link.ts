import { createHash } from "node:crypto";
import { abortable, type Clock } from "@conclave/core/backend";
import { Redis } from "ioredis";
import type { RedisNode, Settings } from "./options.ts";
import { type Effect, isReply, NotSent } from "./outcome.ts";

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

export interface LinkOptions {
  /** What operators see in CLIENT LIST; also who we are there: a Sentinel knows none of the server's users. */
  readonly name: string;
  readonly user: Settings["user"];
  readonly db: number;
  /** How long the server may be silent with a question open before it counts as gone, in milliseconds. */
  readonly patienceMs: number;
}

const ticksOfPatience = 4;

/**
 * One TCP connection, from its first moment to its end: what it sends is sent at most once, and what is unanswered when it
 * ends rejects. Failures come out as the server or the socket gave them.
 *
 * Of `ioredis` it uses the protocol and the handshake, for one connection of one client, and none of its queues, retries,
 * redirections and reconnecting: each of those can send a write twice. A `Cluster`, say, sends again what was unanswered
 * when a node closed the connection, whatever `autoResendUnfulfilledCommands` says.
 */
export class Link {
  readonly node: RedisNode;
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #wait: Settings["wait"];
  readonly #tickMs: number;
  readonly #ended = new AbortController();
  #retired: Error | undefined;
  /** Questions without an answer. */
  #pending = 0;
  #watching: Disposable | undefined;
  #bytesRead = 0;
  #silentTicks = 0;
  /** Until then the server may be silent: it was asked to wait. */
  #quietUntilMs = 0;

  constructor(node: RedisNode, settings: Settings, { name, user, db, patienceMs }: LinkOptions) {
    const { tls, clock, wait } = settings;
    this.node = node;
    this.#clock = clock;
    this.#wait = wait;
    this.#tickMs = patienceMs / ticksOfPatience;
    this.#redis = new Redis({
      ...node,
      ...(user && { username: user.name, password: user.password }),
      ...(tls && {
        tls: { ca: tls.ca, cert: tls.cert, key: tls.key, ...(tls.serverName && { servername: tls.serverName }) },
      }),
      db,
      connectionName: name,
      lazyConnect: true,
      retryStrategy: () => null,
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
      // The check prints a warning for users without INFO; LOADING and READONLY are replies like others to us.
      enableReadyCheck: false,
      // RESP3 would add a command that a user may lack, and nothing that we need.
      protocol: 2,
      disableClientInfo: true,
      // Our caller has its own patience, on its own clock.
      connectTimeout: 0,
      keepAlive: 5_000,
    });
    // Also what it would otherwise only report and go on, such as a database that cannot be selected.
    this.#redis.on("error", (error: Error) => this.drop(error));
    this.#redis.on("end", () => this.drop(new Error(`the connection to ${node.host}:${node.port} was closed`)));
  }

  /** Aborts when the connection ended, with the reason. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Whether it takes questions. */
  get isOpen(): boolean {
    return this.#refusal() === undefined;
  }

  /** Connects and logs in; rejects with what prevented it. */
  async open(): Promise<void> {
    try {
      await abortable(this.#redis.connect(), this.ended);
    } catch (error) {
      this.drop(error as Error);
    }
    this.ended.throwIfAborted();
  }

  /** One plain command. `quietMs`: how long the server may say nothing for having this to answer, such as BLOCK's time. */
  send(command: string, args: readonly Argument[], quietMs = 0): Promise<Reply> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const answer = this.#redis.callBuffer(command, args.map(asWritten)) as Promise<Reply>;
    this.#asked(quietMs);
    return this.#answerOf(abortable(answer, this.ended));
  }

  async #answerOf(answer: Promise<Reply>): Promise<Reply> {
    try {
      return await answer;
    } catch (error) {
      if (error !== this.ended.reason) throw withoutArguments(error);
      // Whatever ended the connection says nothing of what was under way, even where it is a reply, to something else.
      throw new Error(`the connection was lost: ${this.ended.reason.message}`, { cause: error });
    } finally {
      this.#answered();
    }
  }

  /** One run of a script, sent whole where the server does not know it yet. */
  async run(call: ScriptCall): Promise<Reply> {
    const { script, keys, args } = call;
    const rest = [keys.length, ...keys, ...args];
    try {
      return await this.#sendDurably("EVALSHA", [script.sha1, ...rest], call.effect);
    } catch (error) {
      if (!isReply(error) || !error.message.startsWith("NOSCRIPT")) throw error;
    }
    return this.#sendDurably("EVAL", [script.source, ...rest], call.effect);
  }

  /** Takes no further questions, and ends when those that are open are answered. */
  retire(reason: Error): void {
    this.#retired ??= reason;
    if (this.#pending === 0) this.drop(reason);
  }

  /** Ends it at once: whoever waits for an answer gets `reason`. */
  drop(reason: Error): void {
    if (this.ended.aborted) return;
    this.#watching?.[Symbol.dispose]();
    this.#ended.abort(withoutArguments(reason));
    this.#redis.disconnect();
    // A peer that is gone would not answer a polite end.
    this.#redis.stream?.destroy();
  }

  /** A write, and how many replicas have it, in one go: nothing of ours comes between. */
  async #sendDurably(command: string, args: readonly Argument[], effect: Effect): Promise<Reply> {
    if (this.#wait === undefined || effect === "read") return this.send(command, args);
    const { replicas, timeoutMs } = this.#wait;
    const answer = this.send(command, args);
    const acknowledged = this.send("WAIT", [replicas, timeoutMs], timeoutMs);
    acknowledged.catch(() => {});
    const reply = await answer;
    const count = await acknowledged.catch((error: Error) => {
      throw new Error(`it was applied, but replicas were not waited for: ${error.message}`);
    });
    if (Number(count) < replicas) throw new Error(`it was applied, but only ${count} of ${replicas} replicas have it`);
    return reply;
  }

  /** Why nothing can be sent; what is sent despite a reason would be queued, or dropped, or worse. */
  #refusal(): NotSent | undefined {
    const reason = this.ended.aborted ? this.ended.reason : this.#retired;
    if (reason !== undefined) return new NotSent(reason.message, { cause: reason });
    if (this.#redis.status === "ready" && this.#redis.stream.writable) return undefined;
    return new NotSent(`the connection to ${this.node.host}:${this.node.port} is not open`);
  }

  #asked(quietMs: number): void {
    this.#quietUntilMs = Math.max(this.#quietUntilMs, this.#clock.monotonicMs() + quietMs);
    if (this.#pending++ > 0) return;
    this.#silentTicks = 0;
    this.#bytesRead = this.#redis.stream.bytesRead;
    if (this.#watching === undefined) this.#watch();
  }

  #answered(): void {
    this.#pending--;
    if (this.#pending === 0 && this.#retired !== undefined) this.drop(this.#retired);
  }

  /** A half-open connection says nothing. Ticks are counted rather than time: a process that stood still missed its ticks too. */
  #watch(): void {
    this.#watching = this.#clock.after(this.#tickMs, () => {
      this.#watching = undefined;
      if (this.#pending === 0) return;
      const { bytesRead } = this.#redis.stream;
      const isQuiet = bytesRead === this.#bytesRead && this.#clock.monotonicMs() >= this.#quietUntilMs;
      this.#silentTicks = isQuiet ? this.#silentTicks + 1 : 0;
      this.#bytesRead = bytesRead;
      if (this.#silentTicks < ticksOfPatience) this.#watch();
      else this.drop(new Error(`the server at ${this.node.host}:${this.node.port} fell silent`));
    });
  }
}

function asWritten(argument: Argument): string | number | Buffer {
  if (!(argument instanceof Uint8Array) || Buffer.isBuffer(argument)) return argument;
  return Buffer.from(argument.buffer, argument.byteOffset, argument.byteLength);
}

/** ioredis puts a command's arguments on its error: passwords, or what was to be stored. */
function withoutArguments<E>(error: E): E {
  if (error instanceof Error) delete (error as { command?: unknown }).command;
  return error;
}
