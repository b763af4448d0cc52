import { Etcd3, type Services } from "etcd3";
import type { SecureSettings } from "./options.ts";
/** One method of etcd's API. */
export interface Rpc {
  readonly service: keyof typeof Services;
  readonly method: string;
}
/** A two-way stream: messages until `status`, which comes once, whether it ended well or badly. */
export interface Duplex<Request, Response> {
  write(request: Request): unknown;
  cancel(): void;
  pause(): unknown;
  resume(): unknown;
  on(event: "data", listener: (response: Response) => void): unknown;
  on(event: "status", listener: (status: { readonly code: number; readonly details: string }) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}
/**
 * One member of the cluster. Of `etcd3` it uses the message codec and the channels, and none of its retries, breaker,
 * login or host choice: each of those breaks a promise of ours. Failures come out as gRPC gave them.
 */
export declare class Endpoint extends Etcd3 {
  #private;
  readonly url: string;
  constructor(
    url: string,
    tls: SecureSettings | undefined,
    options: {
      readonly ownConnection: boolean;
    },
  );
  /** Waits until a call would be sent or fail at once; false if that takes too long. */
  settled(rpc: Rpc, timeoutMs: number): Promise<boolean>;
  /** One call. When the signal aborts, the call is cancelled and rejects with the signal's reason. */
  unary<Reply>(
    rpc: Rpc,
    request: unknown,
    options: {
      readonly timeoutMs: number;
      readonly token: string | undefined;
      readonly signal: AbortSignal;
    },
  ): Promise<Reply>;
  /** Opens a stream. A server that cannot reach a quorum ends it, instead of leaving it silent. */
  duplex<Request, Response>(rpc: Rpc, token: string | undefined): Promise<Duplex<Request, Response>>;
}
//# sourceMappingURL=endpoint.d.ts.map
