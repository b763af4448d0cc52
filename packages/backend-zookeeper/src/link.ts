import { abortable, backoffMs, type CallOptions, CoordinationError, sleep } from "@conclave/core/backend";
import { type Connection, ConnectionFailure, type Reply } from "./connection.ts";
import { failureOf, hasMoved, isExpired, isUnanswered, isUnsent, noAnswer, RefusedStep } from "./outcome.ts";
import { Patience } from "./patience.ts";
import { longestRestMs, Session, type SessionOptions } from "./session.ts";
import { failedStep, type MultiAnswer, type MultiOp, multiAnswer, type Stat, statFrom } from "./wire.ts";

export type { Patience } from "./patience.ts";
export type { Horizon } from "./session.ts";
export type { MultiAnswer, MultiOp, Stat } from "./wire.ts";

/** What was read, and the newest transaction that the server knew by then. */
export type Answer<T> = T & { readonly zxid: bigint };

/** What was asked for, and the node's stat; no stat, and none of the rest, when there is no such node. */
type Found<T> =
  | (T & { readonly stat: Stat })
  | ({ readonly [Key in keyof T]?: undefined } & { readonly stat: undefined });

/** How to open a link. */
export interface LinkOptions extends SessionOptions {
  /** Deadline of a call that sets none, in milliseconds. */
  readonly callTimeoutMs: number;
}

/** What the server takes in one message, less some room: at 1 MiB it drops the connection, without a word. */
const mostBytes = 1_000_000;

/**
 * One session with ZooKeeper, over one connection at a time, which is made when there is something to send. Reads are
 * tried again, on other servers too, until their deadline, and then reject with `UNAVAILABLE`. A multi is sent at most
 * once: it rejects with `UNAVAILABLE` when it surely was not, and with `OUTCOME_UNKNOWN` when it was and no answer came.
 * Once `ended` has aborted, every call rejects with its reason.
 *
 * A watch given to a read is called once, when what was read may have changed since, when the connection is lost, and
 * when the link ends; of a node that is not there, only `exists` sets one.
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #session: Session;

  /** Makes no connection yet. */
  constructor(options: LinkOptions) {
    this.#options = options;
    this.#session = new Session(options);
  }

  /** The session's id in lower-case hex, as `ephemeralOwner` has it; "0" while there is none. */
  get sessionId(): string {
    return this.#session.id;
  }

  /** What the server last granted the session, in milliseconds. */
  get timeoutMs(): number {
    return this.#session.timeoutMs;
  }

  /** Aborts when the link has ended: with `LEASE_LOST` once its session is known to have expired, or with what ended it. */
  get ended(): AbortSignal {
    return this.#session.ended;
  }

  /** Has a session, if there is none yet. */
  async open(call?: CallOptions): Promise<void> {
    await this.#run("a handshake", "read", call, async () => ({ value: undefined, zxid: 0n }));
  }

  /** Names and stat of a node, if there is one. Its watch hears of children come and gone, and of its end. */
  async children(
    path: string,
    watch?: () => void,
    call?: CallOptions | Patience,
  ): Promise<Answer<Found<{ readonly names: readonly string[] }>>> {
    const { value, zxid } = await this.#run("getChildren", "read", call, (to) => to.children(path, watch));
    return value ? { names: value.names, stat: statFrom(value.stat), zxid } : { stat: undefined, zxid };
  }

  /** Data and stat of a node, if there is one. Its watch hears of writes, and of its end. */
  async data(
    path: string,
    watch?: () => void,
    call?: CallOptions | Patience,
  ): Promise<Answer<Found<{ readonly data: Buffer }>>> {
    const { value, zxid } = await this.#run("getData", "read", call, (to) => to.data(path, watch));
    return value ? { data: value.data, stat: statFrom(value.stat), zxid } : { stat: undefined, zxid };
  }

  /** The stat of a node, if there is one. Its watch hears of its creation, of writes, and of its end. */
  async exists(
    path: string,
    watch?: () => void,
    call?: CallOptions | Patience,
  ): Promise<Answer<{ readonly stat: Stat | undefined }>> {
    const { value, zxid } = await this.#run("exists", "read", call, (to) => to.exists(path, watch));
    return { stat: value && statFrom(value), zxid };
  }

  /** Does all of it in one transaction, or nothing. Rejects with `LIMIT` for more than the server takes at a time. */
  async multi(ops: readonly MultiOp[], call?: CallOptions): Promise<MultiAnswer> {
    if (bytesOf(ops) > mostBytes) {
      throw new CoordinationError("LIMIT", `a transaction of ZooKeeper must be at most ${mostBytes} bytes`);
    }
    const { value } = await this.#run("multi", "write", call, async (to) => {
      const { value: results, zxid } = await to.multi(ops);
      const answer = multiAnswer(results, zxid);
      if (answer) return { value: answer, zxid };
      const { err, index } = failedStep(results) as { err: number; index: number };
      throw new RefusedStep(err, index);
    });
    return value;
  }

  /**
   * Renews the session, and gives what the server now grants it, in milliseconds. Tried again like a read.
   *
   * That a server answers proves nothing: a follower answers pings and reads by itself, for as long as it takes it to
   * notice that it is cut off from its leader, who alone decides what has expired, and hears of who was there only twice
   * in a tick. A new handshake is asked of the leader, who counts from then. But that may be a leader who has
   * been deposed without knowing; so a write follows on the same connection, which the majority must agree to. A leader
   * that comes after grants every session its whole time anew.
   */
  async renew(call?: CallOptions): Promise<number> {
    const sinceMs = this.#options.clock.monotonicMs();
    await this.#run("a renewal", "read", call, (to) => {
      if (to.begunMs >= sinceMs) return to.multi([{ check: "/" }]);
      this.#session.retire(to);
      throw new ConnectionFailure("lost", "the connection is older than the renewal");
    });
    return this.timeoutMs;
  }

  /**
   * Closes the session, which removes its nodes in one transaction, and ends the link. Resolves also when the session was
   * gone. Rejects as a multi does; the link is then still there.
   */
  async close(call?: CallOptions, reason: Error = closed()): Promise<void> {
    if (this.ended.aborted) return;
    try {
      await this.#run("closeSession", "repeatable", call, (to) => {
        this.#session.release(to);
        return to.closeSession().finally(() => to.destroy("the session was closed"));
      });
    } catch (error) {
      if (!this.ended.aborted) throw error;
    }
    this.#session.end(reason);
  }

  /** Ends the link and leaves its session to expire. */
  abandon(reason: Error = closed()): void {
    this.#session.end(reason);
  }

  /** For many calls that share a deadline, and what gives them up: it costs about as much as a call without it. */
  patience({ signal, timeoutMs = this.#options.callTimeoutMs }: CallOptions = {}): Patience {
    return new Patience(this.#options.clock, timeoutMs, this.ended, signal);
  }

  /** Has `send` send something, at once, on a connection. A write is given to one once, any other again if that is lost. */
  async #run<T>(
    name: string,
    effect: "read" | "write" | "repeatable",
    call: CallOptions | Patience | undefined,
    send: (to: Connection) => Promise<Reply<T>>,
  ): Promise<Reply<T>> {
    const { clock, horizon } = this.#options;
    using own = call instanceof Patience ? undefined : this.patience(call);
    const { time, whileUnsent } = call instanceof Patience ? call : (own as Patience);
    let maybeApplied = false;
    for (let losses = 0; ; ) {
      let to: Connection | undefined;
      try {
        whileUnsent.throwIfAborted();
        if (losses > 1) await sleep(clock, backoffMs(clock, losses, longestRestMs), whileUnsent);
        to = await this.#session.connected(whileUnsent);
        if (!this.#session.isServedBy(to)) continue;
        const reply = await abortable(send(to), effect === "read" ? whileUnsent : time);
        if (reply.zxid > horizon.zxid) horizon.zxid = reply.zxid;
        return reply;
      } catch (error) {
        if (to && !isUnsent(error) && effect !== "read") maybeApplied = true;
        if (error === time.reason) throw noAnswer(name, maybeApplied, this.#session.lastFailure ?? error);
        if (error === whileUnsent.reason) throw error;
        if (isExpired(error)) this.#session.expired(to);
        else if (hasMoved(error)) to?.destroy("the session has moved to another connection");
        else if (isUnsent(error)) continue;
        else if (effect === "write" || !isUnanswered(error)) throw failureOf(error, name, maybeApplied);
        losses += 1;
      }
    }
  }
}

function closed(): CoordinationError {
  return new CoordinationError("CLOSED", "the link with ZooKeeper was closed");
}

/** At least what a multi takes on the wire. */
function bytesOf(ops: readonly MultiOp[]): number {
  let bytes = 0;
  for (const op of ops) {
    const path = "create" in op ? op.create : "set" in op ? op.set : "remove" in op ? op.remove : op.check;
    bytes += 60 + Buffer.byteLength(path) + ("data" in op && op.data ? op.data.length : 0);
  }
  return bytes;
}

/** Opens a link, and a session for it. Rejects as a read does, and with `DENIED` for credentials that are not taken. */
export async function openLink(options: LinkOptions, call?: CallOptions): Promise<Link> {
  const link = new Link(options);
  try {
    await link.open(call);
  } catch (error) {
    link.abandon();
    throw error;
  }
  return link;
}
