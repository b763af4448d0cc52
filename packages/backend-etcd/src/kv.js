import {
  byCreation,
  decodeEntry,
  decodeList,
  decodeTxn,
  encodeList,
  encodeTxn,
  keyRange,
  successor,
  writes,
} from "./codec.js";
import { hasDetails } from "./outcome.js";

const pageEntries = 500;
/** Keys and values of etcd. */
export class EtcdKv {
  #endpoints;
  #clock;
  #callTimeoutMs;
  #horizon;
  constructor(endpoints, settings, horizon) {
    this.#endpoints = endpoints;
    this.#clock = settings.clock;
    this.#callTimeoutMs = settings.callTimeoutMs;
    this.#horizon = horizon;
  }
  async get(key, options) {
    const { kvs } = await this.#range(keyRange(key), options);
    return kvs[0] && decodeEntry(kvs[0]);
  }
  async list(prefix, options = {}) {
    const deadlineMs = this.#clock.monotonicMs() + (options.timeoutMs ?? this.#callTimeoutMs);
    const call = () => ({
      signal: options.signal,
      timeoutMs: Math.max(1, deadlineMs - this.#clock.monotonicMs()),
    });
    for (;;) {
      try {
        return await this.#list(prefix, options, call);
      } catch (error) {
        // The revision of the first page was compacted before the last one was read: start over at a newer one.
        if (!isCompacted(error) || this.#clock.monotonicMs() >= deadlineMs) throw error;
      }
    }
  }
  async commit(txn, options) {
    const reply = await this.#send(encodeTxn(txn), writes(txn) ? "write" : "read", options);
    const { commit, cut } = decodeTxn(txn, reply, this.#note(reply.header));
    for (const { index, decoded } of cut) {
      const selection = (reply.succeeded ? txn.then : (txn.else ?? []))[index];
      const listing = await this.#mend(selection.list, selection, decoded, options).catch((error) => {
        // A write that was done must not look undone because of what only orders entries of one revision.
        if (writes(txn)) return decoded.listing;
        throw error;
      });
      commit.results[index] = listing;
    }
    return commit;
  }
  /** The one way by which transactions leave. */
  #send(request, effect, options) {
    const isStale = effect === "read" ? this.#isStale() : () => false;
    return this.#endpoints.call({ service: "KV", method: "txn", effect, isStale }, request, options);
  }
  async #range(request, options) {
    const plan = { service: "KV", method: "range", effect: "read", isStale: this.#isStale() };
    const reply = await this.#endpoints.call(plan, request, options);
    this.#note(reply.header);
    return reply;
  }
  /** A reply must be as new as what was seen before its call; what was seen during it may be newer. */
  #isStale() {
    const { seen } = this.#horizon;
    return ({ header }) => BigInt(header.revision) < seen;
  }
  #note(header) {
    const revision = BigInt(header.revision);
    if (revision > this.#horizon.seen) this.#horizon.seen = revision;
    return revision;
  }
  async #list(prefix, selection, call) {
    const { order = "key", limit } = selection;
    const request = encodeList(prefix, selection);
    if (order !== "key" && limit !== undefined) {
      const reply = await this.#range(request, call());
      return this.#mend(prefix, selection, decodeList(selection, reply, BigInt(reply.header.revision)), call());
    }
    // Pages by key, all at the revision of the first; an order without a limit is made here.
    const { sort_order: _order, sort_target: _target, ...paged } = request;
    const kvs = [];
    let revision;
    let more = true;
    let key = request.key;
    while (more && (limit === undefined || kvs.length < limit)) {
      const count = Math.min(pageEntries, (limit ?? Number.POSITIVE_INFINITY) - kvs.length);
      const pinned = revision === undefined ? {} : { revision: String(revision) };
      const page = await this.#range({ ...paged, ...pinned, ...(key && { key }), limit: String(count) }, call());
      revision ??= BigInt(page.header.revision);
      for (const kv of page.kvs) kvs.push(kv);
      more = page.more;
      key = successor(page.kvs.at(-1)?.key ?? Buffer.alloc(0));
    }
    return decodeList(selection, { kvs, more }, revision).listing;
  }
  /** Where the limit cut through the entries of one revision, reads all of those, to keep the first by key. */
  async #mend(prefix, selection, { listing, cutThrough }, options) {
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
    const entries = [...others, ...kvs.map(decodeEntry)].sort(byCreation(selection.order));
    return { ...listing, entries: entries.slice(0, selection.limit) };
  }
}
function isCompacted(error) {
  return error instanceof Error && hasDetails(error.cause, /required revision has been compacted/);
}
//# sourceMappingURL=kv.js.map
