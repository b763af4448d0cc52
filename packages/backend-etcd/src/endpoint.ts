import type { TlsSettings } from "@conclave/core/backend";
import { noop } from "cockatiel";
import { Etcd3, type Services } from "etcd3";

/** One method of etcd's API. */
export interface Rpc {
  readonly service: keyof typeof Services;
  readonly method: string;
}

/** A two-way stream: messages until `status`, which comes once, whether it ended well or badly. */
export interface Duplex<Request, Response> {
  write(request: Request): unknown;
  cancel(): void;
  on(event: "data", listener: (response: Response) => void): unknown;
  on(event: "status", listener: (status: { readonly code: number; readonly details: string }) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

interface CallMetadata {
  set(name: string, value: string): void;
  clone(): CallMetadata;
}

interface Channel {
  getConnectivityState(connect: boolean): number;
  watchConnectivityState(from: number, deadline: number, callback: (error?: Error) => void): void;
}

/** A gRPC client as it is at run time: one function for each method of its service. */
interface Stub {
  getChannel(): Channel;
  readonly [method: string]: unknown;
}

type UnaryMethod = (
  request: unknown,
  metadata: CallMetadata,
  options: { readonly deadline: number },
  callback: (error: Error | null, reply: unknown) => void,
) => { cancel(): void };

const [ready, failing, shutDown] = [2, 3, 4];

/**
 * One member of the cluster. Of `etcd3` it uses the message codec and the channels, and none of its retries, breaker,
 * login or host choice: each of those breaks a promise of ours. Failures come out as gRPC gave them.
 */
export class Endpoint extends Etcd3 {
  readonly url: string;
  readonly #stubs = new Map<Rpc["service"], Promise<{ stub: Stub; metadata: CallMetadata }>>();

  constructor(url: string, tls: TlsSettings | undefined, options: { readonly ownConnection: boolean }) {
    super({
      hosts: url,
      // The type asks for an authority; without one gRPC trusts the system's.
      ...(tls && {
        credentials: { rootCertificate: pem(tls.ca), privateKey: pem(tls.key), certChain: pem(tls.cert) } as never,
      }),
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
        // How to call is not for a name server to say; asking it would also keep the process alive for its answer.
        "grpc.service_config_disable_resolution": 1,
        ...(tls?.serverName && { "grpc.ssl_target_name_override": tls.serverName }),
        ...(options.ownConnection && { "grpc.use_local_subchannel_pool": 1 }),
      },
    });
    this.url = url;
  }

  /** Waits until a call would be sent or fail at once; false if that takes too long. */
  async settled(rpc: Rpc, timeoutMs: number): Promise<boolean> {
    const channel = (await this.#stub(rpc)).stub.getChannel();
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === ready || state === failing || state === shutDown) return true;
      const changed = await new Promise<boolean>((resolve) => {
        channel.watchConnectivityState(state, deadline, (error) => resolve(error === undefined));
      });
      if (!changed) return false;
    }
  }

  /** One call. When the signal aborts, the call is cancelled and rejects with the signal's reason. */
  async unary<Reply>(
    rpc: Rpc,
    request: unknown,
    options: { readonly timeoutMs: number; readonly token: string | undefined; readonly signal: AbortSignal },
  ): Promise<Reply> {
    const { stub, metadata } = await this.#stub(rpc);
    const { signal } = options;
    signal.throwIfAborted();
    return new Promise<Reply>((resolve, reject) => {
      const call = (stub[rpc.method] as UnaryMethod).call(
        stub,
        request,
        withToken(metadata, options.token),
        { deadline: Date.now() + options.timeoutMs },
        (error, reply) => {
          signal.removeEventListener("abort", abort);
          if (error) reject(error);
          else resolve(reply as Reply);
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
  async duplex<Request, Response>(rpc: Rpc, token: string | undefined): Promise<Duplex<Request, Response>> {
    const { stub, metadata } = await this.#stub(rpc);
    const open = stub[rpc.method] as (metadata: CallMetadata, options: object) => Duplex<Request, Response>;
    const stream = open.call(stub, withToken(metadata, token), {});
    // `status` says the same, and says it for a good end too; without a listener `error` would be thrown.
    stream.on("error", () => {});
    return stream;
  }

  #stub({ service }: Rpc): Promise<{ stub: Stub; metadata: CallMetadata }> {
    let stub = this.#stubs.get(service);
    if (stub === undefined) {
      stub = this.pool.withConnection(service, ({ client, metadata }) => ({
        stub: client as unknown as Stub,
        metadata: metadata as unknown as CallMetadata,
      }));
      stub.catch(() => {});
      this.#stubs.set(service, stub);
    }
    return stub;
  }
}

function withToken(metadata: CallMetadata, token: string | undefined): CallMetadata {
  const own = metadata.clone();
  own.set("hasleader", "true");
  if (token !== undefined) own.set("token", token);
  return own;
}

function pem(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : Buffer.from(text);
}
