import {
  type CallOptions,
  type Clock,
  type Commit,
  CoordinationError,
  type Entry,
  type KV,
  type Listing,
  type ListOptions,
  type Revision,
  type Selection,
  type Txn,
} from "@conclave/core/backend";
import type { IKeyValue, IRangeRequest, IRangeResponse, IResponseHeader, ITxnRequest, ITxnResponse } from "etcd3";
import {
  byCreation,
  type DecodedListing,
  decodeEntry,
  decodeList,
  decodeTxn,
  encodeList,
  encodeTxn,
  keyRange,
  successor,
  writes,
} from "./codec.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Settings } from "./options.ts";
import { hasDetails } from "./outcome.ts";

/** The newest revision a client has seen; nothing older may be shown to it any more. */
export interface Horizon {
  seen: Revision;
}

const pageEntries = 500;

/** Keys and values of etcd. */
export class EtcdKv implements KV {
  readonly #endpoints: Endpoints;
  readonly #clock: Clock;
  readonly #callTimeoutMs: number;
  readonly #horizon: Horizon;
  /** The last write was refused for want of space. */
  #isFull = false;

  constructor(endpoints: Endpoints, settings: Settings, horizon: Horizon) {
    this.#endpoints = endpoints;
    this.#clock = settings.clock;
    this.#callTimeoutMs = settings.callTimeoutMs;
    this.#horizon = horizon;
  }

  async get(key: string, options?: CallOptions): Promise<Entry | undefined> {
    const { kvs } = await this.#range(keyRange(key), options);
    return kvs[0] && decodeEntry(kvs[0]);
  }

  list(prefix: string, options: ListOptions = {}): Promise<Listing> {
    return this.#inSteps(options, true, (call) => this.#list(prefix, options, call));
  }

  commit<const T extends Txn>(txn: T, options: CallOptions = {}): Promise<Commit<T>> {
    return this.#inSteps(options, !writes(txn), (call) => this.#commit(txn, call));
  }

  /** Makes several calls within one deadline, all of them again if their revision is compacted meanwhile. */
  async #inSteps<T>(
    options: CallOptions,
    mayRepeat: boolean,
    work: (call: () => CallOptions) => Promise<T>,
  ): Promise<T> {
    const { signal, timeoutMs = this.#callTimeoutMs } = options;
    const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    const call = () => ({ signal, timeoutMs: Math.max(1, deadlineMs - this.#clock.monotonicMs()) });
    for (;;) {
      try {
        return await work(call);
      } catch (error) {
        if (!mayRepeat || !isCompacted(error) || this.#clock.monotonicMs() >= deadlineMs) throw error;
      }
    }
  }

  async #commit<const T extends Txn>(txn: T, call: () => CallOptions): Promise<Commit<T>> {
    const reply = await this.#send(encodeTxn(txn), writes(txn) ? "write" : "read", call());
    const { commit, cut } = decodeTxn(txn, reply, this.#note(reply.header));
    for (const { index, decoded } of cut) {
      const selection = (reply.succeeded ? txn.then : (txn.else ?? []))[index] as Selection & { list: string };
      const listing = await this.#mend(selection.list, selection, decoded, call()).catch((error: unknown) => {
        // A write that was done must not look undone because of what only orders entries of one revision.
        if (writes(txn)) return decoded.listing;
        throw error;
      });
      (commit.results as unknown as unknown[])[index] = listing;
    }
    return commit as Commit<T>;
  }

  /** The one way by which transactions leave. */
  async #send(request: ITxnRequest, effect: "read" | "write", options: CallOptions | undefined): Promise<ITxnResponse> {
    const isStale = effect === "read" ? this.#isStale() : () => false;
    const wasFull = this.#isFull;
    try {
      const plan = { service: "KV", method: "txn", effect, isStale } as const;
      const reply = await this.#endpoints.call<ITxnResponse>(plan, request, options);
      if (effect === "write") this.#isFull = false;
      return reply;
    } catch (error) {
      if (!isOutOfSpace(error)) throw error;
      this.#isFull = true;
      if (wasFull || effect === "read") throw error;
      // The very write that fills the database is applied and yet answered with this; only later ones are refused.
      throw new CoordinationError("OUTCOME_UNKNOWN", "etcd ran out of space, with or without this write", {
        cause: error,
      });
    }
  }

  async #range(request: IRangeRequest, options: CallOptions | undefined): Promise<IRangeResponse> {
    const plan = { service: "KV", method: "range", effect: "read", isStale: this.#isStale() } as const;
    const reply = await this.#endpoints.call<IRangeResponse>(plan, request, options);
    this.#note(reply.header);
    return reply;
  }

  /** A reply must be as new as what was seen before its call; what was seen during it may be newer. */
  #isStale(): (reply: { readonly header: IResponseHeader }) => boolean {
    const { seen } = this.#horizon;
    return ({ header }) => BigInt(header.revision) < seen;
  }

  #note(header: IResponseHeader): Revision {
    const revision = BigInt(header.revision);
    if (revision > this.#horizon.seen) this.#horizon.seen = revision;
    return revision;
  }

  async #list(prefix: string, selection: Selection, call: () => CallOptions): Promise<Listing> {
    const { order = "key", limit } = selection;
    const request = encodeList(prefix, selection);
    if (order !== "key" && limit !== undefined) {
      const reply = await this.#range(request, call());
      return this.#mend(prefix, selection, decodeList(selection, reply, BigInt(reply.header.revision)), call());
    }
    // Pages by key, all at the revision of the first; an order without a limit is made here.
    const { sort_order: _order, sort_target: _target, ...paged } = request;
    const kvs: IKeyValue[] = [];
    let revision: Revision | undefined;
    let more = true;
    let key = request.key;
    while (more && (limit === undefined || kvs.length < limit)) {
      const count = Math.min(pageEntries, (limit ?? Number.POSITIVE_INFINITY) - kvs.length);
      const pinned = revision === undefined ? {} : { revision: String(revision) };
      const page = await this.#range({ ...paged, ...pinned, ...(key && { key }), limit: String(count) }, call());
      revision ??= BigInt(page.header.revision);
      for (const kv of page.kvs) kvs.push(kv);
      more = page.more;
      key = successor((page.kvs.at(-1) as IKeyValue | undefined)?.key ?? Buffer.alloc(0));
    }
    return decodeList(selection, { kvs, more }, revision as Revision).listing;
  }

  /** Where the limit cut through the entries of one revision, reads all of those, to keep the first by key. */
  async #mend(
    prefix: string,
    selection: Selection,
    { listing, cutThrough }: DecodedListing,
    options: CallOptions | undefined,
  ): Promise<Listing> {
    if (cutThrough === undefined) return listing;
    const { key, range_end, keys_only } = encodeList(prefix, { keysOnly: selection.keysOnly });
    const { kvs } = await this.#range(
      {
        ...(key && { key }),
        ...(range_end && { range_end }),
        ...(keys_only && { keys_only }),
        revision: String(listing.revision),
        min_create_revision: String(cutThrough),
        max_create_revision: String(cutThrough),
      },
      options,
    );
    const others = listing.entries.filter((entry) => entry.created !== cutThrough);
    const entries = [...others, ...kvs.map(decodeEntry)].sort(byCreation(selection.order as "oldest" | "newest"));
    return { ...listing, entries: entries.slice(0, selection.limit) };
  }
}

function isOutOfSpace(error: unknown): boolean {
  return error instanceof Error && hasDetails(error.cause, /database space exceeded/);
}

function isCompacted(error: unknown): boolean {
  return error instanceof Error && hasDetails(error.cause, /required revision has been compacted/);
}
