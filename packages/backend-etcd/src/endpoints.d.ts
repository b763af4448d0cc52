import { type CallOptions } from "@conclave/core/backend";
import type { Credentials } from "./credentials.ts";
import { type Duplex, type Rpc } from "./endpoint.ts";
import type { Settings } from "./options.ts";
import { type Effect } from "./outcome.ts";
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
  readonly token: string | undefined;
  /** The member answered. */
  worked(): void;
  /** The member broke the stream or fell silent: turn to another. */
  failed(): void;
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
export declare class Endpoints {
  #private;
  readonly credentials: Credentials | undefined;
  constructor(settings: Settings, { credentials, ownConnection, longestRestMs }: EndpointsOptions);
  /** Aborts, with `CLOSED`, when this is closed. */
  get closed(): AbortSignal;
  /** Makes a call, and makes it again elsewhere while that can do no harm and there is time. */
  call<Reply>(plan: Plan<Reply>, request: unknown, options?: CallOptions): Promise<Reply>;
  /** Opens a stream to a member that is not resting. */
  open<Request, Response>(rpc: Rpc, signal: AbortSignal): Promise<OpenStream<Request, Response>>;
  /** Rejects what is pending with `CLOSED` and lets go of every connection. */
  close(): void;
}
//# sourceMappingURL=endpoints.d.ts.map
