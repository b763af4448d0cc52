var __addDisposableResource =
  (this && this.__addDisposableResource) ||
  ((env, value, async) => {
    if (value !== null && value !== void 0) {
      if (typeof value !== "object" && typeof value !== "function") throw new TypeError("Object expected.");
      var dispose, inner;
      if (async) {
        if (!Symbol.asyncDispose) throw new TypeError("Symbol.asyncDispose is not defined.");
        dispose = value[Symbol.asyncDispose];
      }
      if (dispose === void 0) {
        if (!Symbol.dispose) throw new TypeError("Symbol.dispose is not defined.");
        dispose = value[Symbol.dispose];
        if (async) inner = dispose;
      }
      if (typeof dispose !== "function") throw new TypeError("Object not disposable.");
      if (inner)
        dispose = function () {
          try {
            inner.call(this);
          } catch (e) {
            return Promise.reject(e);
          }
        };
      env.stack.push({ value: value, dispose: dispose, async: async });
    } else if (async) {
      env.stack.push({ async: true });
    }
    return value;
  });
var __disposeResources =
  (this && this.__disposeResources) ||
  ((SuppressedError) => (env) => {
    function fail(e) {
      env.error = env.hasError ? new SuppressedError(e, env.error, "An error was suppressed during disposal.") : e;
      env.hasError = true;
    }
    var r,
      s = 0;
    function next() {
      while ((r = env.stack.pop())) {
        try {
          if (!r.async && s === 1) return ((s = 0), env.stack.push(r), Promise.resolve().then(next));
          if (r.dispose) {
            var result = r.dispose.call(r.value);
            if (r.async)
              return (
                (s |= 2),
                Promise.resolve(result).then(next, (e) => {
                  fail(e);
                  return next();
                })
              );
          } else s |= 1;
        } catch (e) {
          fail(e);
        }
      }
      if (s === 1) return env.hasError ? Promise.reject(env.error) : Promise.resolve();
      if (env.hasError) throw env.error;
    }
    return next();
  })(
    typeof SuppressedError === "function"
      ? SuppressedError
      : (error, suppressed, message) => {
          var e = new Error(message);
          return ((e.name = "SuppressedError"), (e.error = error), (e.suppressed = suppressed), e);
        },
  );

import { setMaxListeners } from "node:events";
import { abortable, backoffMs, CoordinationError, linkSignals, sleep } from "@conclave/core/backend";
import { Endpoint } from "./endpoint.js";
import { failureOf, isPassing, isStaleToken, isTimeUp, isUnsent, isUntrusted, noConnection } from "./outcome.js";
/**
 * The cluster as one thing to call. It stays with one member while that answers and turns to the next when it does not;
 * a member that failed rests for a while. Every call has a deadline, and is repeated only as its effect allows.
 */
export class Endpoints {
  credentials;
  #settings;
  #members;
  #longestRestMs;
  #closed = new AbortController();
  #current;
  constructor(settings, { credentials, ownConnection, longestRestMs }) {
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
  get closed() {
    return this.#closed.signal;
  }
  /** Makes a call, and makes it again elsewhere while that can do no harm and there is time. */
  async call(plan, request, options = {}) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
      const { clock, callTimeoutMs } = this.#settings;
      const deadlineMs = clock.monotonicMs() + (options.timeoutMs ?? callTimeoutMs);
      const leftMs = () => deadlineMs - clock.monotonicMs();
      const either = __addDisposableResource(env_1, linkSignals(options.signal, this.closed), false);
      let [maybeApplied, untrusted, logins] = [false, 0, 0];
      let failure;
      for (;;) {
        const member = await this.#turn(leftMs(), either.signal);
        let token;
        let sent = false;
        try {
          if (!plan.anonymous) token = await this.#token(leftMs(), either.signal);
          await abortable(this.#connect(member, plan, this.#share(leftMs())), either.signal);
          sent = true;
          const reply = await member.endpoint.unary(plan, request, {
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
        if (leftMs() <= 1) throw failureOf(failure, plan, maybeApplied);
      }
    } catch (e_1) {
      env_1.error = e_1;
      env_1.hasError = true;
    } finally {
      __disposeResources(env_1);
    }
  }
  /** Opens a stream to a member that is not resting. */
  async open(rpc, signal) {
    const member = await this.#turn(Number.POSITIVE_INFINITY, signal);
    const token = await this.#token(this.#settings.callTimeoutMs, signal);
    const stream = await member.endpoint.duplex(rpc, token);
    return { stream, token, worked: () => this.#worked(member), failed: () => this.#failed(member) };
  }
  /** Rejects what is pending with `CLOSED` and lets go of every connection. */
  close() {
    if (this.closed.aborted) return;
    this.#closed.abort(new CoordinationError("CLOSED", "the etcd backend was closed"));
    for (const { endpoint } of this.#members) endpoint.close();
  }
  async #connect({ endpoint }, plan, timeoutMs) {
    if (!(await endpoint.settled(plan, timeoutMs))) throw noConnection(endpoint.url, timeoutMs);
  }
  /** The time one attempt may take: with somebody else to ask, it must leave some for them. */
  #share(leftMs) {
    return this.#members.length === 1 ? leftMs : Math.max(leftMs / 2, Math.min(leftMs, 500));
  }
  async #token(timeoutMs, signal) {
    const env_2 = { stack: [], error: void 0, hasError: false };
    try {
      if (this.credentials === undefined) return undefined;
      const late = new AbortController();
      const _timer = __addDisposableResource(
        env_2,
        this.#settings.clock.after(timeoutMs, () => {
          late.abort(new CoordinationError("UNAVAILABLE", "etcd did not answer the login in time"));
        }),
        false,
      );
      const either = __addDisposableResource(env_2, linkSignals(signal, late.signal), false);
      return await abortable(this.credentials.token(), either.signal);
    } catch (e_2) {
      env_2.error = e_2;
      env_2.hasError = true;
    } finally {
      __disposeResources(env_2);
    }
  }
  /** The member whose turn it is; waits while all of them rest. */
  async #turn(leftMs, signal) {
    const nowMs = this.#settings.clock.monotonicMs();
    const count = this.#members.length;
    let chosen = this.#current;
    for (let step = 0; step < count; step++) {
      const index = (this.#current + step) % count;
      if (this.#restsUntilMs(index) <= nowMs) {
        chosen = index;
        break;
      }
      if (this.#restsUntilMs(index) < this.#restsUntilMs(chosen)) chosen = index;
    }
    this.#current = chosen;
    const restMs = Math.min(this.#restsUntilMs(chosen) - nowMs, leftMs);
    if (restMs > 0) await sleep(this.#settings.clock, restMs, signal);
    return this.#members[chosen];
  }
  #restsUntilMs(index) {
    return this.#members[index].restsUntilMs;
  }
  #worked(member) {
    member.failures = 0;
    member.restsUntilMs = Number.NEGATIVE_INFINITY;
  }
  #failed(member) {
    const { clock } = this.#settings;
    // A lost connection fails many calls at once; that is one failure.
    if (clock.monotonicMs() >= member.restsUntilMs) {
      member.failures++;
      member.restsUntilMs = clock.monotonicMs() + backoffMs(clock, member.failures, this.#longestRestMs);
    }
    if (this.#members[this.#current] === member) this.#current = (this.#current + 1) % this.#members.length;
  }
}
//# sourceMappingURL=endpoints.js.map
