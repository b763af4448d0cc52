import { decode, type Entry, encode, type KV, type Lease, type Listing, type Put } from "@conclave/core/backend";
import { expect } from "vitest";

/** A put of text. */
export function put(key: string, text: string, lease?: Lease): Put {
  return { put: key, value: encode(text), lease };
}

/** Writes texts in one commit, and gives its revision. */
export async function write(kv: KV, texts: Record<string, string>, lease?: Lease): Promise<bigint> {
  const { revision } = await kv.commit({ then: Object.entries(texts).map(([key, text]) => put(key, text, lease)) });
  return revision;
}

/** Removes keys in one commit, and gives its revision. */
export async function remove(kv: KV, ...keys: readonly string[]): Promise<bigint> {
  const { revision } = await kv.commit({ then: keys.map((key) => ({ delete: key })) });
  return revision;
}

/** Writes that many keys, in as few commits as are allowed. */
export async function fill(kv: KV, keys: readonly string[], text = ""): Promise<void> {
  for (let from = 0; from < keys.length; from += 100) {
    await kv.commit({ then: keys.slice(from, from + 100).map((key) => put(key, text)) });
  }
}

/** That many keys of equal length, in order. */
export function numbered(count: number, prefix = ""): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${String(index).padStart(5, "0")}`);
}

export function textOf(entry: Entry | undefined): string | undefined {
  return entry && decode(entry.value);
}

export function keysOf(listing: Listing): string[] {
  return listing.entries.map((entry) => entry.key);
}

/** What is under a prefix: texts by key. */
export async function texts(kv: KV, prefix = ""): Promise<Record<string, string>> {
  return Object.fromEntries((await kv.list(prefix)).entries.map((entry) => [entry.key, decode(entry.value)]));
}

/** The entry of a key that must be there. */
export async function present(kv: KV, key: string): Promise<Entry> {
  const entry = await kv.get(key);
  expect(entry, `${key} is there`).toBeDefined();
  return entry as Entry;
}

/** The commit, which must have taken its `then`. */
export function applied<C extends { readonly succeeded: boolean }>(commit: C): Extract<C, { succeeded: true }> {
  expect(commit.succeeded, "every condition holds").toBe(true);
  return commit as Extract<C, { succeeded: true }>;
}

/** The commit, which must have taken its `else`. */
export function refused<C extends { readonly succeeded: boolean }>(commit: C): Extract<C, { succeeded: false }> {
  expect(commit.succeeded, "a condition fails").toBe(false);
  return commit as Extract<C, { succeeded: false }>;
}
