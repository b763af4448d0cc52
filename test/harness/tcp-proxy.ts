import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { type Frame, FrameReader, opensHttp2 } from "./http2-frames.ts";
import { listenAnywhere } from "./ports.ts";

/** A hop on the way to a server that fails on demand. Faults hold for open and new connections until `heal`. */
export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** The target's URL with our port. */
  readonly url: string;
  /** Connections open now, and ever accepted. */
  readonly connections: number;
  readonly accepted: number;
  /** Bytes handed on so far; swallowed ones do not count. */
  readonly bytesToClient: number;
  readonly bytesToServer: number;
  /**
   * How often a client began to speak after its server had, on all connections: the round trips of one who waits for each
   * answer. Over HTTP/2 only what belongs to calls counts.
   */
  readonly turns: number;
  /** Resets every connection. New ones are welcome. */
  cut(): void;
  /** Keeps connections open and swallows what either side says. On `heal`, those that lost something are reset. */
  blackHole(): void;
  /** Keeps connections open and holds back what either side says. On `heal` it all arrives, late. */
  stall(): void;
  /** Resets every connection and stops listening. */
  refuse(): Promise<void>;
  /** Holds back every chunk, either way, for so long. */
  delay(ms: number): void;
  /** Lets so many more reply bytes through, and resets every connection at the next one. Resolves when it did. */
  limitReplyBytes(count: number): Promise<void>;
  /**
   * Loses the reply of one call, surely after the server gave it: lets the request through, swallows the whole reply,
   * and resets that connection. Resolves when it did. Over HTTP/2 in the clear (so gRPC) the call is the next one whose
   * request is complete, hence never an open stream such as a watch; `containing` picks the next one with these bytes
   * in it, for example a key. Over anything else it is whatever the server says next on the connection on which
   * `containing` was said first, so there its caller must be waiting for no other answer; on any, if nothing is to be contained.
   */
  dropNextReply(options?: { containing?: string }): Promise<void>;
  /** Ends every fault. */
  heal(): Promise<void>;
  /** Resets what is open and stops listening for good. */
  stop(): Promise<void>;
}

/** Listens on a free loopback port and passes everything on to `target`, a URL or `host:port`. */
export async function startProxy(target: string): Promise<TcpProxy> {
  const url = new URL(target.includes("://") ? target : `tcp://${target}`);
  const proxy = new Hop(url);
  await proxy.listen();
  return proxy;
}

type Mode = "pass" | "swallow" | "stall";

/** A reply to lose: the call it falls on is found when its request is complete. */
interface DoomedReply {
  readonly containing: string;
  readonly done: () => void;
  /** The stream is undefined where there are none. */
  call?: { readonly link: Link; readonly stream: number | undefined };
}

class Hop implements TcpProxy {
  port = 0;
  accepted = 0;
  bytesToClient = 0;
  bytesToServer = 0;
  turns = 0;
  mode: Mode = "pass";
  delayMs = 0;
  doomed: DoomedReply[] = [];
  limit: { left: number; readonly done: () => void } | undefined;
  readonly target: URL;
  readonly links: Set<Link> = new Set();
  #server: Server | undefined;

  constructor(target: URL) {
    this.target = target;
  }

  get url(): string {
    return `${this.target.protocol}//127.0.0.1:${this.port}`;
  }

  get connections(): number {
    return this.links.size;
  }

  async listen(): Promise<void> {
    if (this.#server !== undefined) return;
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      this.accepted++;
      this.links.add(new Link(this, client));
    });
    this.#server = server;
    if (this.port === 0) {
      this.port = await listenAnywhere(server);
    } else {
      server.listen(this.port, "127.0.0.1");
      await once(server, "listening");
    }
  }

  cut(): void {
    for (const link of this.links) link.reset();
  }

  blackHole(): void {
    this.#enter("swallow");
  }

  stall(): void {
    this.#enter("stall");
  }

  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    const closed = server && new Promise((resolve) => server.close(resolve));
    this.cut();
    await closed;
  }

  delay(ms: number): void {
    this.delayMs = ms;
  }

  limitReplyBytes(count: number): Promise<void> {
    return new Promise((done) => {
      this.limit = { left: count, done };
    });
  }

  dropNextReply({ containing = "" }: { containing?: string } = {}): Promise<void> {
    return new Promise((done) => {
      this.doomed.push({ containing, done });
    });
  }

  async heal(): Promise<void> {
    this.limit = undefined;
    this.doomed = [];
    this.delayMs = 0;
    this.#enter("pass");
    await this.listen();
  }

  stop(): Promise<void> {
    return this.refuse();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #enter(mode: Mode): void {
    this.mode = mode;
    for (const link of this.links) link.modeChanged();
  }
}

/** A client's connection and the one to the server that goes with it. */
class Link {
  /** True once bytes, or the end of a side, were kept from the other for good. */
  lossy = false;
  readonly #hop: Hop;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #toServer: Lane;
  readonly #toClient: Lane;
  /** Whose turn it was last. */
  #clientSpoke = false;
  #frames: { readonly ofClient: FrameReader; readonly ofServer: FrameReader } | undefined;
  /** Requests that are not complete yet, by stream, gathered only while there is a reply to lose. */
  readonly #requests: Map<number, Buffer[]> = new Map();
  /** What was said where there are no streams, since the server spoke last, likewise. */
  #said: Buffer = Buffer.alloc(0);

  constructor(hop: Hop, client: Socket) {
    this.#hop = hop;
    this.#client = client;
    const { hostname: host, port } = hop.target;
    this.#server = createConnection({ host, port: Number(port), allowHalfOpen: true, noDelay: true });
    this.#toServer = new Lane(hop, this, this.#client, this.#server, false);
    this.#toClient = new Lane(hop, this, this.#server, this.#client, true);

    this.#client.once("data", (chunk: Buffer) => {
      if (opensHttp2(chunk))
        this.#frames = { ofClient: new FrameReader("client"), ofServer: new FrameReader("server") };
    });
    this.#client.on("data", (chunk: Buffer) => this.#fromClient(chunk));
    this.#server.on("data", (chunk: Buffer) => this.#fromServer(chunk));
    for (const [socket, lane] of [[this.#client, this.#toServer] as const, [this.#server, this.#toClient] as const]) {
      socket.on("end", () => lane.send("end"));
      socket.on("error", () => this.#broken());
      socket.on("close", () => {
        if (this.#client.destroyed && this.#server.destroyed) hop.links.delete(this);
      });
    }
    this.modeChanged();
  }

  reset(): void {
    this.#hop.links.delete(this);
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
  }

  modeChanged(): void {
    if (this.lossy && this.#hop.mode === "pass") {
      this.reset();
      return;
    }
    this.#toServer.flush();
    this.#toClient.flush();
  }

  /** One side reset its connection. The other hears of it at once, unless nothing gets through now. */
  #broken(): void {
    this.lossy = true;
    if (this.#hop.mode === "pass") this.reset();
  }

  #fromClient(chunk: Buffer): void {
    const frames = this.#frames?.ofClient.push(chunk);
    if (frames) for (const frame of frames) this.#requested(frame);
    else this.#spoke(chunk);
    if (!this.#clientSpoke && (frames === undefined || frames.some(({ ofCall }) => ofCall))) {
      this.#clientSpoke = true;
      this.#hop.turns++;
    }
    this.#toServer.send(chunk);
  }

  #spoke(chunk: Buffer): void {
    const waiting = this.#waiting().filter(({ containing }) => containing !== "");
    if (waiting.length === 0) return;
    this.#said = Buffer.concat([this.#said, chunk]);
    const reply = waiting.find(({ containing }) => this.#said.includes(containing));
    if (reply) reply.call = { link: this, stream: undefined };
  }

  #requested(frame: Frame): void {
    const waiting = this.#waiting();
    if (waiting.length === 0) this.#requests.clear();
    if (waiting.length === 0 || frame.stream === 0) return;
    const parts = this.#requests.get(frame.stream) ?? [];
    this.#requests.set(frame.stream, [...parts, frame.bytes]);
    if (!frame.endsStream) return;
    const request = Buffer.concat([...parts, frame.bytes]);
    this.#requests.delete(frame.stream);
    const reply = waiting.find(({ containing }) => request.includes(containing));
    if (reply) reply.call = { link: this, stream: frame.stream };
  }

  /** The replies to lose whose calls were not made yet. */
  #waiting(): DoomedReply[] {
    return this.#hop.doomed.filter((reply) => reply.call === undefined);
  }

  #fromServer(chunk: Buffer): void {
    if (this.#frames === undefined) {
      this.#clientSpoke = false;
      this.#said = Buffer.alloc(0);
      const reply = this.#hop.doomed.find(({ containing, call }) => call?.link === this || containing === "");
      if (reply) this.#lose(reply);
      else this.#toClient.send(chunk);
      return;
    }
    for (const frame of this.#frames.ofServer.push(chunk)) {
      if (frame.ofCall) this.#clientSpoke = false;
      const reply = this.#hop.doomed.find(({ call }) => call?.link === this && call.stream === frame.stream);
      if (reply === undefined) this.#toClient.send(frame.bytes);
      else if (frame.endsStream) this.#lose(reply);
    }
  }

  #lose(reply: DoomedReply): void {
    this.#hop.doomed = this.#hop.doomed.filter((other) => other !== reply);
    this.reset();
    reply.done();
  }
}

/** One direction of a link: a queue that keeps the order under delay, and on which faults fall when things leave it. */
class Lane {
  readonly #hop: Hop;
  readonly #link: Link;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #isReply: boolean;
  #queue: { readonly item: Buffer | "end"; readonly dueMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(hop: Hop, link: Link, from: Socket, to: Socket, isReply: boolean) {
    this.#hop = hop;
    this.#link = link;
    this.#from = from;
    this.#to = to;
    this.#isReply = isReply;
    to.on("drain", () => from.resume());
  }

  send(item: Buffer | "end"): void {
    const dueMs = Math.max(performance.now() + this.#hop.delayMs, this.#queue.at(-1)?.dueMs ?? 0);
    this.#queue.push({ item, dueMs });
    this.flush();
  }

  flush(): void {
    clearTimeout(this.#timer);
    while (this.#hop.mode !== "stall") {
      const head = this.#queue[0];
      if (head === undefined) return;
      const waitMs = head.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.flush(), waitMs);
        return;
      }
      this.#queue.shift();
      if (this.#hop.mode === "swallow") this.#link.lossy = true;
      else this.#deliver(head.item);
    }
  }

  #deliver(item: Buffer | "end"): void {
    if (this.#to.destroyed) return;
    if (item === "end") this.#to.end();
    else if (this.#isReply) this.#reply(item);
    else {
      this.#hop.bytesToServer += item.length;
      this.#write(item);
    }
  }

  #reply(bytes: Buffer): void {
    const { limit } = this.#hop;
    const allowed = bytes.subarray(0, limit?.left);
    this.#hop.bytesToClient += allowed.length;
    if (limit !== undefined) limit.left -= allowed.length;
    if (limit === undefined || allowed.length === bytes.length) {
      this.#write(allowed);
      return;
    }
    this.#to.write(allowed, () => {
      if (this.#hop.limit === limit) this.#hop.limit = undefined;
      this.#hop.cut();
      limit.done();
    });
  }

  #write(bytes: Buffer): void {
    if (!this.#to.write(bytes)) this.#from.pause();
  }
}
