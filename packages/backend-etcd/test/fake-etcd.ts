import { createRequire } from "node:module";
import type { IWatchRequest, IWatchResponse } from "etcd3";

const ours = createRequire(import.meta.url);
const theirs = createRequire(ours.resolve("etcd3"));
const grpc = theirs("@grpc/grpc-js");
const protobuf = theirs("@grpc/proto-loader");

const { etcdserverpb } = grpc.loadPackageDefinition(
  protobuf.loadSync(ours.resolve("etcd3/proto/rpc.proto"), {
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  }),
);

/** How a call ends badly. */
export class Refusal extends Error {
  readonly code: number;
  readonly details: string;
  constructor(code: number, details: string) {
    super(details);
    this.code = code;
    this.details = details;
  }
}

/** One stream as the server sees it. */
export interface ServerStream<Request, Response> {
  readonly metadata: { get(name: string): readonly string[] };
  write(response: Response): void;
  end(): void;
  emit(event: "error", refusal: Refusal): void;
  on(event: "data", listener: (request: Request) => void): void;
  on(event: "end" | "cancelled", listener: () => void): void;
}

export type WatchStream = ServerStream<IWatchRequest, Partial<IWatchResponse>>;
type Unary = (request: never, token: string | undefined) => unknown;

/** What a fake answers, by service and method; what is missing, or left unanswered with a pending promise, hangs. */
export interface Script {
  readonly kv?: Readonly<Record<string, Unary>>;
  readonly auth?: Readonly<Record<string, Unary>>;
  readonly lease?: Readonly<Record<string, Unary>>;
  readonly keepAlive?: (stream: ServerStream<{ ID: string }, { ID: string; TTL: string }>) => void;
  readonly watch?: (stream: WatchStream, nth: number) => void;
  readonly version?: string;
}

export interface FakeEtcd extends AsyncDisposable {
  readonly endpoint: string;
}

/** A server that speaks etcd's language and says what a test wants. */
export async function startFakeEtcd(script: Script): Promise<FakeEtcd> {
  const server = new grpc.Server();
  const unary = (answers: Readonly<Record<string, Unary>> = {}) =>
    Object.fromEntries(
      Object.entries(answers).map(([method, answer]) => [
        method,
        async (
          call: { request: never; metadata: { get(name: string): string[] } },
          reply: (e: unknown, r?: unknown) => void,
        ) => {
          try {
            reply(null, await answer(call.request, call.metadata.get("token")[0]));
          } catch (error) {
            reply(error);
          }
        },
      ]),
    );
  let watchStreams = 0;
  server.addService(etcdserverpb.KV.service, unary(script.kv));
  server.addService(etcdserverpb.Auth.service, unary(script.auth));
  server.addService(
    etcdserverpb.Maintenance.service,
    unary({ Status: () => ({ version: script.version ?? "3.5.30" }) }),
  );
  server.addService(etcdserverpb.Lease.service, {
    ...unary(script.lease),
    LeaseKeepAlive: script.keepAlive ?? (() => {}),
  });
  server.addService(etcdserverpb.Watch.service, {
    Watch: (stream: WatchStream) => {
      stream.on("cancelled", () => {});
      script.watch?.(stream, ++watchStreams);
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error: Error | null, bound: number) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  return { endpoint: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: async () => server.forceShutdown() };
}

export const header = (
  revision: number | string = 1,
): { cluster_id: string; member_id: string; revision: string; raft_term: string } => ({
  cluster_id: "1",
  member_id: "1",
  revision: String(revision),
  raft_term: "1",
});

/** An event of a put. */
export function putEvent(key: string, revision: number): NonNullable<IWatchResponse["events"]>[number] {
  const kv = {
    key: Buffer.from(key),
    value: Buffer.from(""),
    create_revision: String(revision),
    mod_revision: String(revision),
    version: "1",
    lease: "0",
  };
  return { type: "Put", kv } as never;
}
