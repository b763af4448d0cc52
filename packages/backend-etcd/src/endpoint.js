import { noop } from "cockatiel";
import { Etcd3 } from "etcd3";

const [ready, failing, shutDown] = [2, 3, 4];
/**
 * One member of the cluster. Of `etcd3` it uses the message codec and the channels, and none of its retries, breaker,
 * login or host choice: each of those breaks a promise of ours. Failures come out as gRPC gave them.
 */
export class Endpoint extends Etcd3 {
  url;
  #stubs = new Map();
  constructor(url, tls, options) {
    super({
      hosts: url,
      // The type asks for an authority; without one gRPC trusts the system's.
      ...(tls && { credentials: { rootCertificate: tls.ca, privateKey: tls.key, certChain: tls.cert } }),
      faultHandling: { host: () => noop, global: noop },
      grpcOptions: {
        // etcd caps what is written; a reply, such as a page or a batch of events, may be larger than gRPC's 4 MB.
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        // etcd drops clients that ping more often than every 5 s.
        "grpc.keepalive_time_ms": 6_000,
        "grpc.keepalive_timeout_ms": 2_500,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1_000,
        "grpc.enable_retries": 0,
        ...(tls?.serverName && { "grpc.ssl_target_name_override": tls.serverName }),
        ...(options.ownConnection && { "grpc.use_local_subchannel_pool": 1 }),
      },
    });
    this.url = url;
  }
  /** Waits until a call would be sent or fail at once; false if that takes too long. */
  async settled(rpc, timeoutMs) {
    const channel = (await this.#stub(rpc)).stub.getChannel();
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === ready || state === failing || state === shutDown) return true;
      const changed = await new Promise((resolve) => {
        channel.watchConnectivityState(state, deadline, (error) => resolve(error === undefined));
      });
      if (!changed) return false;
    }
  }
  /** One call. When the signal aborts, the call is cancelled and rejects with the signal's reason. */
  async unary(rpc, request, options) {
    const { stub, metadata } = await this.#stub(rpc);
    const { signal } = options;
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const call = stub[rpc.method].call(
        stub,
        request,
        withToken(metadata, options.token),
        { deadline: Date.now() + options.timeoutMs },
        (error, reply) => {
          signal.removeEventListener("abort", abort);
          if (error) reject(error);
          else resolve(reply);
        },
      );
      const abort = () => {
        call.cancel();
        reject(signal.reason);
      };
      signal.addEventListener("abort", abort, { once: true });
    });
  }
  /** Opens a stream. A server that cannot reach a quorum ends it, instead of leaving it silent. */
  async duplex(rpc, token) {
    const { stub, metadata } = await this.#stub(rpc);
    const open = stub[rpc.method];
    const stream = open.call(stub, withToken(metadata, token), {});
    // `status` says the same, and says it for a good end too; without a listener `error` would be thrown.
    stream.on("error", () => {});
    return stream;
  }
  #stub({ service }) {
    let stub = this.#stubs.get(service);
    if (stub === undefined) {
      stub = this.pool.withConnection(service, ({ client, metadata }) => ({
        stub: client,
        metadata: metadata,
      }));
      stub.catch(() => {});
      this.#stubs.set(service, stub);
    }
    return stub;
  }
}
function withToken(metadata, token) {
  const own = metadata.clone();
  own.set("hasleader", "true");
  if (token !== undefined) own.set("token", token);
  return own;
}
//# sourceMappingURL=endpoint.js.map
