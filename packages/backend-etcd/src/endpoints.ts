import { setMaxListeners } from "node:events";
import { abortable, backoffMs, type CallOptions, CoordinationError, linkSignals, sleep } from "@conclave/core/backend";
import type { Credentials } from "./credentials.ts";
import { type Duplex, Endpoint, type Rpc } from "./endpoint.ts";
import type { Settings } from "./options.ts";
import {
  type Effect,
  failureOf,
  isPassing,
  isStaleToken,
  isTimeUp,
  isUnsent,
  isUntrusted,
  noConnection,
} from "./outcome.ts";

/** How long to wait for a connection while there is somebody else to ask. */
const connectPatienceMs = 1_000;

const shortestAttemptMs = 5;

/** A member to talk to, and how it did lately. */
interface Member {
  readonly endpoint: Endpoint;
  failures: number;
  /** Until then others are preferred; on the clock's monotonic hand. */
  restsUntilMs: number;
}

/** One kind of call. */
export interface Plan<Reply> extends Rpc {
  readonly effect: Effect;
  /** Sent without a login. */
  readonly anonymous?: boolean;
  /** Whether the reply to a read is too old to be believed; another member is asked then. */
  readonly isStale?: (reply: Reply) => boolean;
}

/** An open stream, with what it takes to say how its member did. */
export interface OpenStream<Request, Response> {
  readonly stream: Duplex<Request, Response>;
  /** The member answered. */
  worked(): void;
  /** The member broke the stream or fell silent: turn to another. */
  failed(): void;
  /** The login it was opened with is no longer taken. */
  refused(): void;
}

export interface EndpointsOptions {
  readonly credentials: Credentials | undefined;
  /** A TCP connection that no other traffic of this process can hold up. */
  readonly ownConnection: boolean;
  /** How long a member that keeps failing rests at most, in milliseconds. */
  readonly longestRestMs: number;
}

/**
 * The cluster as one thing to call. It stays with one member while that answers and turns to the next when it does not;
 * a member that failed rests for a while. Every call has a deadline, and is repeated only as its effect allows.
 */
export class Endpoints {
  readonly credentials: Credentials | undefined;
  readonly #settings: Settings;
  readonly #members: readonly Member[];
  readonly #longestRestMs: number;
  readonly #closed = new AbortController();
  #current: number;

  constructor(settings: Settings, { credentials, ownConnection, longestRestMs }: EndpointsOptions) {
    this.credentials = credentials;
    this.#settings = settings;
    this.#longestRestMs = longestRestMs;
    this.#members = settings.endpoints.map((url) => ({
      endpoint: new Endpoint(url, settings.tls, { ownConnection }),
      failures: 0,
      restsUntilMs: Number.NEGATIVE_INFINITY,
    }));
    this.#current = Math.floor(settings.clock.random() * this.#members.length);
    // Every call in flight listens to it, and Node would print a warning at the eleventh.
    setMaxListeners(0, this.#closed.signal);
  }

  /** Aborts, with `CLOSED`, when this is closed. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** Makes a call, and makes it again elsewhere while that can do no harm and there is time. */
  async call<Reply>(plan: Plan<Reply>, request: unknown, options: CallOptions = {}): Promise<Reply> {
    const { clock, callTimeoutMs } = this.#settings;
    const deadlineMs = clock.monotonicMs() + (options.timeoutMs ?? callTimeoutMs);
    const leftMs = () => deadlineMs - clock.monotonicMs();
    using either = linkSignals(options.signal, this.closed);
    let [maybeApplied, untrusted, logins] = [false, 0, 0];
    let failure: unknown;
    for (;;) {
      const member = await this.#turn(leftMs(), either.signal);
      // With no time for another attempt, the last one's failure says more than a deadline would.
      if (failure !== undefined && leftMs() < shortestAttemptMs) throw failureOf(failure, plan, maybeApplied);
      let token: string | undefined;
      let sent = false;
      try {
        if (!plan.anonymous) token = await this.#token(leftMs(), either.signal);
        await abortable(this.#connect(member, plan, leftMs()), either.signal);
        sent = true;
        const reply = await member.endpoint.unary<Reply>(plan, request, {
          token,
          timeoutMs: plan.effect === "write" ? leftMs() : this.#share(leftMs()),
          // Whoever aborts a write that was sent still needs to know how it ended.
          signal: plan.effect === "read" ? either.signal : this.closed,
        });
        this.#worked(member);
        if (!plan.isStale?.(reply)) return reply;
        failure = new CoordinationError("UNAVAILABLE", "etcd answered with a state older than one seen before");
      } catch (error) {
        this.closed.throwIfAborted();
        const untouched = !sent || isUnsent(error) || isStaleToken(error);
        if (options.signal?.aborted && (untouched || plan.effect === "read")) throw options.signal.reason;
        if (!untouched && isPassing(error)) maybeApplied = true;
        // A deadline that passed before the call was sent says less than what had kept it.
        if (failure === undefined || !isTimeUp(error) || !untouched) failure = error;
        if (isStaleToken(error) && this.credentials && logins++ < 2) {
          this.credentials.refused(token);
          continue;
        }
        if (isUntrusted(error)) untrusted++;
        const final = !isPassing(error) || untrusted >= this.#members.length || options.signal?.aborted;
        if (final || (maybeApplied && plan.effect === "write")) {
          if (isPassing(error)) this.#failed(member);
          throw failureOf(error, plan, maybeApplied);
        }
      }
      this.#failed(member);
    }
  }

  /** Opens a stream to a member that is not resting. */
  async open<Request, Response>(rpc: Rpc, signal: AbortSignal): Promise<OpenStream<Request, Response>> {
    const member = await this.#turn(Number.POSITIVE_INFINITY, signal);
    const token = await this.#token(this.#settings.callTimeoutMs, signal);
    const stream = await member.endpoint.duplex<Request, Response>(rpc, token);
    return {
      stream,
      worked: () => this.#worked(member),
      failed: () => this.#failed(member),
      refused: () => this.credentials?.refused(token),
    };
  }

  /** Rejects what is pending with `CLOSED` and lets go of every connection. */
  close(): void {
    if (this.closed.aborted) return;
    this.#closed.abort(new CoordinationError("CLOSED", "the etcd backend was closed"));
    for (const { endpoint } of this.#members) endpoint.close();
  }

  async #connect({ endpoint }: Member, plan: Rpc, leftMs: number): Promise<void> {
    // Turning to another does not end the attempt to connect to this one.
    const timeoutMs = this.#members.length === 1 ? leftMs : Math.min(this.#share(leftMs), connectPatienceMs);
    if (!(await endpoint.settled(plan, timeoutMs))) throw noConnection(endpoint.url, timeoutMs);
  }

  /** The time one attempt may take: with somebody else to ask, it must leave some for them. */
  #share(leftMs: number): number {
    return this.#members.length === 1 ? leftMs : Math.max(leftMs / 2, Math.min(leftMs, 500));
  }

  async #token(timeoutMs: number, signal: AbortSignal): Promise<string | undefined> {
    if (this.credentials === undefined) return undefined;
    const late = new AbortController();
    using _timer = this.#settings.clock.after(timeoutMs, () => {
      late.abort(new CoordinationError("UNAVAILABLE", "etcd did not answer the login in time"));
    });
    using either = linkSignals(signal, late.signal);
    return await abortable(this.credentials.token(), either.signal);
  }

  /** The member whose turn it is; waits while all of them rest. */
  async #turn(leftMs: number, signal: AbortSignal): Promise<Member> {
    const nowMs = this.#settings.clock.monotonicMs();
    const inTurn = [...this.#members.slice(this.#current), ...this.#members.slice(0, this.#current)];
    const chosen =
      inTurn.find(({ restsUntilMs }) => restsUntilMs <= nowMs) ??
      inTurn.reduce((first, other) => (other.restsUntilMs < first.restsUntilMs ? other : first));
    this.#current = this.#members.indexOf(chosen);
    const restMs = Math.min(chosen.restsUntilMs - nowMs, leftMs);
    if (restMs > 0) await sleep(this.#settings.clock, restMs, signal);
    return chosen;
  }

  #worked(member: Member): void {
    member.failures = 0;
    member.restsUntilMs = Number.NEGATIVE_INFINITY;
  }

  #failed(member: Member): void {
    const { clock } = this.#settings;
    // A lost connection fails many calls at once; that is one failure.
    if (clock.monotonicMs() >= member.restsUntilMs) {
      member.failures++;
      member.restsUntilMs = clock.monotonicMs() + backoffMs(clock, member.failures, this.#longestRestMs);
    }
    if (this.#members[this.#current] === member) this.#current = (this.#current + 1) % this.#members.length;
  }
}
