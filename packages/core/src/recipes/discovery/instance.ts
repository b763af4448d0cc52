import { checkContent, checkOptions, outOfRange, wrongType } from "../../arguments.ts";
import { decode, encode } from "../../bytes.ts";
import { segment, unsegment } from "../../context.ts";
import { encodeJson, type Json } from "../../json.ts";
import type { Entry, Revision } from "../../ports/kv.ts";

/** What an instance of a service says of itself. */
export interface Advertisement {
  /** Where clients reach it, as they need it: "10.0.0.7:8080", "https://…". */
  readonly address: string;
  /** Whatever else clients should know. With the address and the rest at most about 512 KiB of JSON. */
  readonly metadata?: Json | undefined;
  /** Its share of what a weighted pick gives, 0 or more and 1 by default; one of 0 is given by other picks only. */
  readonly weight?: number | undefined;
}

/** A registered instance of a service. */
export interface Instance {
  /** The service's name; in a recursive view the whole path. */
  readonly service: string;
  /** Unique within its service. */
  readonly id: string;
  /** As it was advertised; so are `metadata` and `weight`. */
  readonly address: string;
  readonly metadata: Json | undefined;
  /** 1 when none was advertised. */
  readonly weight: number;
  /** When what it says was last written. */
  readonly modified: Revision;
}

export const advertisementOptions: readonly string[] = ["address", "metadata", "weight"];

export function checkAdvertisement(call: string, advertisement: Advertisement, also: readonly string[] = []): void {
  checkOptions(call, advertisement, [...advertisementOptions, ...also]);
  checkContent(`address of ${call}`, advertisement?.address);
  if (advertisement.address === "") throw outOfRange(`address of ${call}`, "", "an address of at least one character");
  const { metadata, weight } = advertisement;
  if (metadata !== undefined) encodeJson(`metadata of ${call}`, metadata);
  if (weight !== undefined && typeof weight !== "number") throw wrongType(`weight of ${call}`, weight, "a number");
  if (weight !== undefined && !(weight >= 0 && weight < Infinity))
    throw outOfRange(`weight of ${call}`, weight, "0 or more");
}

/** As it is now: what is said again, after a lost session, is what was said, whatever became of the object given. */
export function copyOf({ address, metadata, weight }: Advertisement): Advertisement {
  return { address, metadata: metadata && (JSON.parse(JSON.stringify(metadata)) as Json), weight };
}

/** As Go's `naming/endpoints` package for etcd writes an endpoint; it skips the weight. */
export function encodeAdvertisement({ address, metadata, weight = 1 }: Advertisement): Uint8Array {
  return encode(JSON.stringify({ Op: 0, Addr: address, Metadata: metadata, Weight: weight }));
}

/** The instance an entry describes, or undefined when it describes none. `key` is taken relative to `root`. */
export function decodeInstance(root: string, entry: Entry): Instance | undefined {
  const path = entry.key.slice(root.length);
  const slash = path.lastIndexOf("/");
  const written = parse(decode(entry.value));
  if (slash < 0 || typeof written?.["Addr"] !== "string") return undefined;
  const { Addr: address, Metadata: metadata, Weight: weight } = written as Record<string, Json>;
  return {
    service: path.slice(0, slash),
    id: unsegment(path.slice(slash + 1)),
    address: address as string,
    metadata: metadata ?? undefined,
    weight: typeof weight === "number" && weight >= 0 && weight < Infinity ? weight : 1,
    modified: entry.modified,
  };
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The key of an instance under a service's prefix. */
export function instanceKey(prefix: string, id: string): string {
  return prefix + segment(id);
}

/** What tells an instance from every other in the directory; its id alone does so only within its service. */
export function pathOf({ service, id }: Instance): string {
  return `${service}/${segment(id)}`;
}

/** Whether two instances say the same; a re-registration of the same says nothing new. */
export function saysTheSame(one: Instance, other: Instance): boolean {
  return (
    one.address === other.address &&
    one.weight === other.weight &&
    JSON.stringify(one.metadata) === JSON.stringify(other.metadata)
  );
}
