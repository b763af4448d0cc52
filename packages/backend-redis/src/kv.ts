import {
  type CallOptions,
  type Commit,
  CoordinationError,
  type Entry,
  type KV,
  type Listing,
  type ListOptions,
  type Txn,
} from "@conclave/core/backend";
import { decodeEntry, decodeList, decodeTxn, encodeList, encodeTxn, writes } from "./codec.ts";
import type { Space } from "./space.ts";

/** Keys and values of Redis: each call is one run of the script. */
export class RedisKv implements KV {
  readonly #space: Space;

  constructor(space: Space) {
    this.#space = space;
  }

  async get(key: string, options?: CallOptions): Promise<Entry | undefined> {
    const { answer } = await this.#space.call({ name: "get", effect: "read", args: [key] }, options);
    const [packed] = answer as readonly [Buffer | null];
    return packed === null ? undefined : decodeEntry(key, packed);
  }

  async list(prefix: string, options: ListOptions = {}): Promise<Listing> {
    const command = { name: "list", effect: "read", args: encodeList(prefix, options) } as const;
    const { revision, answer } = await this.#space.call(command, options);
    return decodeList(options, answer, revision);
  }

  async commit<const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> {
    const { revision, answer } = await this.#space.call(
      {
        name: "commit",
        effect: writes(txn) ? "write" : "read",
        enlarges: txn.then.some((operation) => "put" in operation),
        args: encodeTxn(txn),
      },
      options,
    );
    const commit = decodeTxn(txn, answer, revision);
    if (commit === undefined) {
      throw new CoordinationError("LEASE_LOST", "the lease of this commit has expired or was revoked");
    }
    return commit as Commit<T>;
  }
}
