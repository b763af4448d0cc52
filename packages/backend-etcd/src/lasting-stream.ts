import type { Endpoints, OpenStream, Plan } from "./endpoints.ts";
import { failureOf, isPassing, isStaleToken } from "./outcome.ts";

/** Who uses a stream: what it must know of it, and what the stream must know of its user. */
export interface StreamUser<Response> {
  /** Whether a stream that is lost must have a successor at once. */
  readonly wanted: () => boolean;
  /** There is a stream, on which nothing was sent yet. */
  readonly opened: () => void;
  readonly heard: (response: Response) => void;
  /** There is no stream any more. What was sent on it has no answer to come. */
  readonly lost: (failure: Error) => void;
  /** The server will not have it: no successor would do better. */
  readonly refused: (error: unknown) => void;
}

/**
 * One stream and its successors, the next opened when the last one ends, breaks or is dropped. What a stream says after
 * that is ignored.
 */
export class LastingStream<Request, Response> {
  readonly #endpoints: Endpoints;
  readonly #rpc: Plan<unknown>;
  readonly #user: StreamUser<Response>;
  #current: OpenStream<Request, Response> | undefined;
  #opening = false;
  #closed = false;
  /** Why there is no stream just now. */
  lastFailure: unknown;

  constructor(endpoints: Endpoints, rpc: Plan<unknown>, user: StreamUser<Response>) {
    this.#endpoints = endpoints;
    this.#rpc = rpc;
    this.#user = user;
  }

  get isOpen(): boolean {
    return this.#current !== undefined;
  }

  /** Opens a stream, unless that is under way; goes on until there is one or nobody wants it. */
  async open(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    let open: OpenStream<Request, Response> | undefined;
    try {
      open = await this.#endpoints.open(this.#rpc, this.#endpoints.closed);
    } catch (error) {
      this.lastFailure = error;
      if (!isPassing(error)) this.#user.refused(error);
    }
    this.#opening = false;
    if (this.#closed) open?.stream.cancel();
    else if (open) this.#use(open);
    else if (this.#user.wanted()) void this.open();
  }

  write(request: Request): void {
    this.#current?.stream.write(request);
  }

  /** The member answered what was asked. */
  worked(): void {
    this.#current?.worked();
  }

  /** Gives the stream up, because of the member at its other end or of the login it was opened with. */
  drop(failure: Error, blamed: "member" | "login" = "member"): void {
    const open = this.#current;
    if (open === undefined) return;
    this.#end(failure);
    if (blamed === "member") open.failed();
    if (blamed === "login" || isStaleToken(failure)) open.refused();
    else if ("code" in failure && failure.code !== 0 && !isPassing(failure)) {
      this.#user.refused(failureOf(failure, this.#rpc, false));
    }
    if (!this.#closed && this.#user.wanted()) void this.open();
  }

  /** For good. */
  close(): void {
    this.#closed = true;
    this.#end(new Error("closed by ourselves"));
  }

  #use(open: OpenStream<Request, Response>): void {
    this.#current = open;
    open.stream.on("data", (response) => {
      if (open === this.#current) this.#user.heard(response);
    });
    open.stream.on("status", ({ code, details }) => {
      if (open === this.#current) this.drop(Object.assign(new Error(details), { code, details }));
    });
    this.#user.opened();
  }

  #end(failure: Error): void {
    if (this.#current === undefined) return;
    this.#current.stream.cancel();
    this.#current = undefined;
    this.lastFailure = failure;
    this.#user.lost(failure);
  }
}
