import {
  abortable,
  backoffMs,
  type CallOptions,
  type Clock,
  CoordinationError,
  linkSignals,
  sleep,
} from "@conclave/core/backend";
import { Connection, ConnectionFailure, type Reply, type Session } from "./connection.ts";
import type { Server } from "./options.ts";
import { failureOf, hasMoved, isExpired, isUnanswered, isUnsent, noAnswer, RefusedStep } from "./outcome.ts";
import { failedStep, type MultiAnswer, type MultiOp, multiAnswer, type Stat, statFrom } from "./wire.ts";

export type { MultiAnswer, MultiOp, Refusal, Stat } from "./wire.ts";

/** What was read, and the newest transaction that the server knew by then. */
export type Answer<T> = T & { readonly zxid: bigint };

/** How to open a link. */
export interface LinkOptions {
  readonly servers: readonly Server[];
  /** The session timeout to ask for at first, in milliseconds. */
  readonly sessionTimeoutMs: number;
  /** `user:password` for the digest scheme: nodes are then created for that user alone, and otherwise for everybody. */
  readonly auth: string | undefined;
  readonly clock: Clock;
  /** Deadline of a call that sets none, in milliseconds. */
  readonly callTimeoutMs: number;
  /**
   * Whether it goes on for good: then it keeps its session alive by itself, and takes another one when that has expired.
   * Otherwise the session lives by `renew`, and the link ends with it.
   */
  readonly lasting: boolean;
  /** The newest transaction that this client has seen, by whatever link. */
  readonly horizon: Horizon;
  /** Requests after which a connection is replaced; 2^30 when absent, since the client counts them and throws at 2^31. */
  readonly requestsPerConnection?: number | undefined;
}

/** The newest transaction a client has seen anything of; servers that are behind it turn the client away. */
export interface Horizon {
  zxid: bigint;
}

/** What the server takes in one message, less some room: at 1 MiB it drops the connection, without a word. */
const mostBytes = 1_000_000;
const shortestPatienceMs = 250;
const longestPatienceMs = 4_000;
const longestQuietMs = 2_500;
const shortestOpeningMs = 1_000;
const longestRestMs = 500;

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
  readonly #ended = new AbortController();
  #session: Session | undefined;
  #askedMs: number;
  #timeoutMs = 0;
  #connection: Connection | undefined;
  /** Takes no new requests; what is under way on it is to settle before the session moves to another one. */
  #retired: Connection | undefined;
  #opening: Promise<Connection> | undefined;
  #waiting = 0;
  #server: number;
  #lastFailure: unknown;
  #heartbeat: Disposable | undefined;

  /** Makes no connection yet. */
  constructor(options: LinkOptions) {
    this.#options = options;
    this.#askedMs = options.sessionTimeoutMs;
    this.#server = Math.floor(options.clock.random() * options.servers.length);
  }

  /** The session's id in lower-case hex, as `ephemeralOwner` has it; "0" while there is none. */
  get sessionId(): string {
    return (this.#session?.id.readBigUInt64BE() ?? 0n).toString(16);
  }

  /** What the server last granted the session, in milliseconds. */
  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  /** Aborts when the link has ended: with `LEASE_LOST` once its session is known to have expired, or with what ended it. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Has a session, if there is none yet. */
  async open(call?: CallOptions): Promise<void> {
    await this.#run("a handshake", "read", call, async () => ({ value: undefined, zxid: 0n }));
  }

  /** Names and stat of a node, undefined when there is none. Its watch hears of children come and gone, and of its end. */
  async children(
    path: string,
    watch?: () => void,
    call?: CallOptions,
  ): Promise<Answer<{ readonly names: readonly string[]; readonly stat: Stat }> | undefined> {
    const { value, zxid } = await this.#run("getChildren", "read", call, (to) => to.children(path, watch));
    return value && { names: value.names, stat: statFrom(value.stat), zxid };
  }

  /** Data and stat of a node, undefined when there is none. Its watch hears of writes, and of its end. */
  async data(
    path: string,
    watch?: () => void,
    call?: CallOptions,
  ): Promise<Answer<{ readonly data: Buffer; readonly stat: Stat }> | undefined> {
    const { value, zxid } = await this.#run("getData", "read", call, (to) => to.data(path, watch));
    return value && { data: value.data, stat: statFrom(value.stat), zxid };
  }

  /** The stat of a node, if there is one. Its watch hears of its creation, of writes, and of its end. */
  async exists(
    path: string,
    watch?: () => void,
    call?: CallOptions,
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
   * notice that it is cut off from its leader, who alone decides what has expired, and hears of who was there only with
   * every second tick. A new handshake is asked of the leader, who counts from then. But that may be a leader who has
   * been deposed without knowing; so a write follows on the same connection, which the majority must agree to. A leader
   * that comes after grants every session its whole time anew.
   */
  async renew(call?: CallOptions): Promise<number> {
    const sinceMs = this.#options.clock.monotonicMs();
    await this.#run("a renewal", "read", call, (to) => {
      if (to.begunMs >= sinceMs) return to.multi([{ check: "/" }]);
      this.#retire(to);
      throw new ConnectionFailure("lost", "the connection is older than the renewal");
    });
    return this.#timeoutMs;
  }

  /** Has the session last longer, or not so long; gives what the server grants, in milliseconds. */
  async askFor(sessionTimeoutMs: number, call?: CallOptions): Promise<number> {
    this.#askedMs = sessionTimeoutMs;
    return this.renew(call);
  }

  /**
   * Closes the session, which removes its nodes in one transaction, and ends the link. Resolves also when the session was
   * gone. Rejects as a multi does; the link is then still there.
   */
  async close(call?: CallOptions, reason: Error = closed()): Promise<void> {
    if (this.#ended.signal.aborted) return;
    try {
      await this.#run("closeSession", "repeatable", call, (to) => {
        if (this.#connection === to) this.#connection = undefined;
        return to.closeSession().finally(() => to.destroy("the session was closed"));
      });
    } catch (error) {
      if (!this.#ended.signal.aborted) throw error;
    }
    this.#end(reason);
  }

  /** Ends the link and leaves its session to expire. */
  abandon(reason: Error = closed()): void {
    this.#end(reason);
  }

  /** Has `send` send something, at once, on a connection. A write is given to one once, any other again if that is lost. */
  async #run<T>(
    name: string,
    effect: "read" | "write" | "repeatable",
    { signal, timeoutMs = this.#options.callTimeoutMs }: CallOptions = {},
    send: (to: Connection) => Promise<Reply<T>>,
  ): Promise<Reply<T>> {
    const { clock, horizon } = this.#options;
    const time = new AbortController();
    using _timer = clock.after(timeoutMs, () => time.abort(new Error(`${timeoutMs} ms are over`)));
    using whileUnsent = linkSignals(this.#ended.signal, signal, time.signal);
    let maybeApplied = false;
    for (let losses = 0; ; ) {
      let to: Connection | undefined;
      try {
        whileUnsent.signal.throwIfAborted();
        if (losses > 1) await sleep(clock, backoffMs(clock, losses, longestRestMs), whileUnsent.signal);
        to = await this.#connected(whileUnsent.signal);
        if (to !== this.#connection) continue;
        const reply = await abortable(send(to), effect === "read" ? whileUnsent.signal : time.signal);
        if (reply.zxid > horizon.zxid) horizon.zxid = reply.zxid;
        return reply;
      } catch (error) {
        if (to && !isUnsent(error) && effect !== "read") maybeApplied = true;
        if (error === time.signal.reason) throw noAnswer(name, maybeApplied, this.#lastFailure ?? error);
        if (error === whileUnsent.signal.reason) throw error;
        if (isExpired(error)) this.#expired(to);
        else if (hasMoved(error)) to?.destroy("the session has moved to another connection");
        else if (isUnsent(error)) continue;
        else if (effect === "write" || !isUnanswered(error)) throw failureOf(error, name, maybeApplied);
        losses += 1;
      }
    }
  }

  /** The connection to send on; waits for one. */
  async #connected(signal: AbortSignal): Promise<Connection> {
    const connection = this.#connection;
    if (connection?.failure) {
      this.#lastFailure = connection.failure;
      this.#connection = undefined;
      this.#server += 1;
    } else if (connection && connection.sent < (this.#options.requestsPerConnection ?? 2 ** 30)) return connection;
    else if (connection) this.#retire(connection);
    this.#waiting += 1;
    try {
      this.#opening ??= this.#open().finally(() => {
        this.#opening = undefined;
      });
      return await abortable(this.#opening, signal);
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Goes from server to server until one goes on with the session, or nobody waits for that any more. */
  async #open(): Promise<Connection> {
    const { servers, clock } = this.#options;
    for (let failures = 0; ; ) {
      // A server that hears of the session anew drops the connection it had, with what was under way on it.
      await this.#retired?.idle();
      this.#ended.signal.throwIfAborted();
      try {
        const connection = await this.#handshake(Math.floor(failures / servers.length));
        this.#adopt(connection);
        return connection;
      } catch (error) {
        if (isExpired(error)) {
          this.#expired(this.#connection);
          continue;
        }
        this.#lastFailure = error;
        this.#server += 1;
        failures += 1;
        const isDenied = error instanceof ConnectionFailure && error.kind === "denied";
        if (isDenied || this.#waiting === 0) throw error;
        if (failures % servers.length > 0) continue;
        await sleep(clock, backoffMs(clock, failures / servers.length, longestRestMs), this.#ended.signal);
      }
    }
  }

  #handshake(rounds: number): Promise<Connection> {
    const { servers, horizon, auth, clock, lasting } = this.#options;
    const { host, port } = servers[this.#server % servers.length] as Server;
    const sessionTimeoutMs = this.#askedMs;
    // What the session has may be short by now, and what it is to have longer.
    const timeoutMs = Math.max(this.#timeoutMs, sessionTimeoutMs);
    const patienceMs = Math.max(shortestPatienceMs, Math.min(timeoutMs / (lasting ? 3 : 6), longestPatienceMs));
    // To open a session is a write, which may take its time; to go on with one is not.
    const firstMs = this.#session ? patienceMs : Math.max(patienceMs, shortestOpeningMs);
    return Connection.open(
      {
        ...{ host, port, auth, clock, patienceMs, sessionTimeoutMs },
        session: this.#session,
        zxid: horizon.zxid,
        timeoutMs: firstMs * 2 ** Math.min(rounds, 3),
      },
      this.#ended.signal,
    );
  }

  #adopt(connection: Connection): void {
    if (this.#ended.signal.aborted) connection.destroy("the link has ended");
    this.#ended.signal.throwIfAborted();
    this.#session = connection.session;
    this.#timeoutMs = connection.timeoutMs;
    this.#connection = connection;
    this.#retired?.destroy("the session moved to another connection");
    this.#retired = undefined;
    if (this.#options.lasting) this.#keepAlive(connection);
  }

  /** The server drops a session that sends nothing, however much it sends to it. */
  #keepAlive(connection: Connection): void {
    this.#heartbeat?.[Symbol.dispose]();
    this.#heartbeat = this.#options.clock.after(Math.min(this.#timeoutMs / 3, longestQuietMs), () => {
      if (connection.failure) return;
      connection.exists("/").catch(() => {});
      this.#keepAlive(connection);
    });
  }

  /** What is under way on the connection goes on, and the next request gets another one. */
  #retire(connection: Connection): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#retired = connection;
  }

  /** What a connection says that is not in use any more is left to the one that is to say. */
  #expired(connection: Connection | undefined): void {
    if (connection !== this.#connection) return;
    for (const one of [connection, this.#retired]) one?.destroy("its session has expired");
    this.#connection = undefined;
    this.#session = undefined;
    if (this.#options.lasting) return;
    this.#end(new CoordinationError("LEASE_LOST", "ZooKeeper says that the session has expired"));
  }

  #end(reason: Error): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(reason);
    this.#heartbeat?.[Symbol.dispose]();
    for (const connection of [this.#connection, this.#retired]) connection?.destroy("the link has ended");
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
