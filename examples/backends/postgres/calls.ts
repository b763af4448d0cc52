import { Socket } from "node:net";
import {
  type AdapterSettings,
  abortable,
  backoffMs,
  type CallOptions,
  CoordinationError,
  type ErrorCode,
  linkSignals,
  sleep,
} from "@conclave/core/backend";
import pg from "pg";

/** Options that passed every check, with their defaults filled in. */
export type Settings = AdapterSettings & Readonly<{ url: string; schema: string }>;

/** One client's connections, and the one place that knows what to make of each way to fail. */
export class Calls {
  readonly settings: Settings;
  /** Aborted when this client is closed. */
  readonly closing: AbortController = new AbortController();
  readonly #pool: pg.Pool;
  readonly #sockets: Set<Socket> = new Set();

  constructor(settings: Settings) {
    this.settings = settings;
    const timeoutMs = Math.ceil(settings.callTimeoutMs);
    this.#pool = new pg.Pool({
      connectionString: settings.url,
      // No statement goes on for long after its caller gave up, and each sees all that was committed before its turn.
      options: `-c search_path=${settings.schema} -c default_transaction_isolation=read\\ committed
        -c statement_timeout=${timeoutMs} -c tcp_user_timeout=${timeoutMs}`,
      connectionTimeoutMillis: timeoutMs,
      keepAlive: true,
      max: 5,
      stream: () => this.#socket(),
    });
    // A connection says here too that it broke, used or not; if nobody listened, the process would end.
    this.#pool.on("error", () => {});
    this.#pool.on("connect", (connection) => connection.on("error", () => {}));
  }

  // #region ask
  /** The one value that a statement gives. Reads are repeated until their deadline; a write only if it surely was undone. */
  async ask<T>(effect: "read" | "write", text: string, values: unknown[], options: CallOptions = {}): Promise<T> {
    const { clock, callTimeoutMs } = this.settings;
    const { signal, timeoutMs = callTimeoutMs } = options;
    let cause: unknown;
    const deadline = new AbortController();
    using _timer = clock.after(timeoutMs, () =>
      deadline.abort(new CoordinationError("UNAVAILABLE", `postgres gave no answer in ${timeoutMs} ms`, { cause })),
    );
    using hard = linkSignals(this.closing.signal, deadline.signal);
    using soft = linkSignals(signal, hard.signal);
    for (let attempt = 1; ; attempt++) {
      let connection: pg.PoolClient | undefined;
      try {
        connection = await this.connect(soft.signal);
        const asked = connection.query<[T]>({ text, values, rowMode: "array" });
        const { rows } = await abortable(asked, effect === "read" ? soft.signal : hard.signal);
        connection.release();
        return rows[0]?.[0] as T;
      } catch (error) {
        // Nobody else gets a connection on which something may still be under way.
        connection?.release(true);
        const mayRepeat = connection === undefined || effect === "read" || wasRolledBack(error);
        if (mayRepeat) soft.signal.throwIfAborted();
        const code = refusal(error) ?? (mayRepeat ? undefined : "OUTCOME_UNKNOWN");
        if (code) throw new CoordinationError(code, `postgres did not do as asked: ${error}`, { cause: error });
        cause = error;
      }
      await sleep(clock, backoffMs(clock, attempt), soft.signal);
    }
  }
  // #endregion

  /** A connection to use, and then to release. Rejects with the signal's reason, or with what the driver threw. */
  async connect(signal: AbortSignal): Promise<pg.PoolClient> {
    const connecting = this.#pool.connect();
    return await abortable(connecting, signal).catch((error: unknown) => {
      connecting.then((tooLate) => tooLate.release()).catch(() => {});
      throw error;
    });
  }

  /** Ends every call and every connection, at once. */
  close(): void {
    this.closing.abort(new CoordinationError("CLOSED", "this client of postgres was closed"));
    for (const socket of this.#sockets) socket.destroy();
    this.#pool.end().catch(() => {});
  }

  /** Sockets are ours, so that they are ours to end: the driver would ask the server to, and wait for it. */
  #socket(): Socket {
    const socket = new Socket();
    this.#sockets.add(socket);
    return socket.once("close", () => this.#sockets.delete(socket));
  }
}

const stateOf = (error: unknown): string => (error instanceof pg.DatabaseError ? (error.code ?? "") : "");

/** Serialization failures, deadlocks, statements out of time, and servers that only read. */
const wasRolledBack = (error: unknown): boolean => /^(40001|40P01|57014|25006)$/.test(stateOf(error));

/** What the server decides with nothing applied. That it has no connection left (53300) is not for good. */
const refusals: [RegExp, ErrorCode][] = [
  [/^28|^42501/, "DENIED"],
  [/^0A/, "UNSUPPORTED"],
  [/^5[34](?!300)/, "LIMIT"],
];
const refusal = (error: unknown) => refusals.find(([states]) => states.test(stateOf(error)))?.[1];
