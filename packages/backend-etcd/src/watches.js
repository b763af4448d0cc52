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

import { CoordinationError } from "@conclave/core/backend";
import { Subscription } from "./subscription.js";
import { WatchLane } from "./watch-lane.js";
/** Watches of etcd. All share one stream, except that a watch whose reader is slow moves to one of its own. */
export class EtcdWatches {
  #endpoints;
  #clock;
  #callTimeoutMs;
  #horizon;
  #lanes = new Map();
  #shared;
  constructor(endpoints, settings, horizon) {
    this.#endpoints = endpoints;
    this.#clock = settings.clock;
    this.#callTimeoutMs = settings.callTimeoutMs;
    this.#horizon = horizon;
    this.#shared = new WatchLane(endpoints, this.#clock, {
      pausing: false,
      onBehind: (subscription) => this.#isolate(subscription),
    });
    endpoints.closed.addEventListener("abort", () => this.#close(endpoints.closed.reason));
  }
  async watch(range, options = {}) {
    const env_1 = { stack: [], error: void 0, hasError: false };
    try {
      const { signal, timeoutMs = this.#callTimeoutMs } = options;
      const abort = () => subscription.fail(signal?.reason);
      const subscription = new Subscription(range, this.#horizon, () => {
        signal?.removeEventListener("abort", abort);
        this.#lanes.get(subscription)?.remove(subscription);
        this.#lanes.delete(subscription);
      });
      signal?.addEventListener("abort", abort);
      this.#lanes.set(subscription, this.#shared);
      this.#shared.add(subscription);
      const _timer = __addDisposableResource(
        env_1,
        this.#clock.after(timeoutMs, () => {
          subscription.fail(
            new CoordinationError("UNAVAILABLE", "etcd did not create the watch in time", {
              cause: this.#shared.lastFailure,
            }),
          );
        }),
        false,
      );
      await subscription.live;
      return subscription.feed;
    } catch (e_1) {
      env_1.error = e_1;
      env_1.hasError = true;
    } finally {
      __disposeResources(env_1);
    }
  }
  /** Gives a watch a stream of its own, once its reader has taken what lies there. */
  #isolate(subscription) {
    const lane = new WatchLane(this.#endpoints, this.#clock, { pausing: true, onBehind: () => {} });
    this.#lanes.set(subscription, lane);
    subscription.feed.drained = () => {
      subscription.feed.drained = undefined;
      lane.add(subscription);
    };
  }
  #close(reason) {
    for (const [subscription, lane] of [...this.#lanes]) {
      lane.close();
      subscription.fail(reason);
    }
    this.#shared.close();
  }
}
//# sourceMappingURL=watches.js.map
