import type { Change, Commit, Entry, Listing, Revision, Selection, Txn } from "@conclave/core/backend";
import { type IEvent, type IKeyValue, type IRangeRequest, type ITxnRequest, type ITxnResponse } from "etcd3";
/** A range of keys as etcd has it. A single key must go without `range_end`: an empty one would mean "to the end". */
export interface KeyRange {
  readonly key: Buffer;
  readonly range_end?: Buffer;
}
export declare function keyRange(key: string): KeyRange;
/** Everything below a prefix: up to the same bytes with the last one raised, which in UTF-8 is never the highest. */
export declare function prefixRange(prefix: string): Required<KeyRange>;
/** The next key there can be. */
export declare function successor(key: Uint8Array): Buffer;
/** What to ask for a selection. With an order by creation it asks for one entry more than the limit, for `decodeList`. */
export declare function encodeList(prefix: string, selection: Selection): IRangeRequest;
/** A listing, and the revision whose entries the limit cut through, if it did: etcd keeps any of them, in any order. */
export interface DecodedListing {
  readonly listing: Listing;
  readonly cutThrough: Revision | undefined;
}
export declare function decodeList(
  selection: Selection,
  reply: {
    readonly kvs: readonly IKeyValue[];
    readonly more: boolean;
  },
  revision: Revision,
): DecodedListing;
/** The order of a listing by creation; within one revision by key, in the same direction. */
export declare function byCreation(order: "oldest" | "newest"): (one: Entry, other: Entry) => number;
export declare function writes(txn: Txn): boolean;
export declare function encodeTxn(txn: Txn): ITxnRequest;
/** The commit a reply tells of. `revision` is that of the outermost header: etcd leaves those inside at zero. */
export declare function decodeTxn(
  txn: Txn,
  reply: Pick<ITxnResponse, "succeeded" | "responses">,
  revision: Revision,
): {
  readonly commit: Commit;
  readonly cut: readonly {
    readonly index: number;
    readonly decoded: DecodedListing;
  }[];
};
export declare function decodeEntry(kv: IKeyValue): Entry;
export declare function decodeChange({ type, kv }: IEvent): Change;
/** A lease id as Go prints it: hexadecimal without leading zeros. */
export declare function decodeLease(id: string | bigint): string;
export declare function encodeLease(id: string): string;
//# sourceMappingURL=codec.d.ts.map
