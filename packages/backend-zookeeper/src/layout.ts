import type { MultiOp } from "./link.ts";

/** What is under a prefix: of one directory all that begins with `rest`, and all that is below such directories. */
export interface Stretch {
  /** The directory's path. */
  readonly directory: string;
  /** What all keys in that directory begin with: "" or something that ends in a slash. */
  readonly above: string;
  /** What the names of the prefix's entries in the directory begin with. */
  readonly rest: string;
}

/** One child of a directory: an entry, or a directory more. */
export interface Child {
  readonly path: string;
  /** The key of an entry; of a directory, what all keys below it begin with. */
  readonly key: string;
  readonly isDirectory: boolean;
}

const guardCount = 256;

export const nothing: Buffer = Buffer.alloc(0);

/**
 * Where everything is. A key's segments but the last are directories, named `d…`, and the last is an entry, named `v…`:
 * so a key can have a value and keys below it, segments may be empty, and an entry can be ephemeral, which a node with
 * children cannot.
 *
 * - `<root>/k/d<segment>/…/v<segment>` is a key. A directory's data is empty; its version grows with every creation in it.
 * - `<root>/g/<number>` are guards: each is written with every creation of a node that falls to it.
 * - `<root>/clock` is written for its place in the order of all writes.
 */
export class Layout {
  readonly clock: string;
  /** The directory of all keys. */
  readonly top: string;
  readonly #guards: string;

  constructor(root: string) {
    this.clock = `${root}/clock`;
    this.top = `${root}/k`;
    this.#guards = `${root}/g`;
  }

  entry(key: string): string {
    const segments = key.split("/");
    const last = segments.pop() as string;
    return `${this.#directory(segments)}/v${encodeURIComponent(last)}`;
  }

  stretch(prefix: string): Stretch {
    const segments = prefix.split("/");
    const rest = segments.pop() as string;
    return { directory: this.#directory(segments), above: prefix.slice(0, prefix.length - rest.length), rest };
  }

  /** What tells whether a node was created since: ZooKeeper counts the versions of a node made anew from 0 again. */
  guard(path: string): string {
    let hash = 0x811c9dc5;
    for (let index = 0; index < path.length; index += 1) hash = Math.imul(hash ^ path.charCodeAt(index), 0x01000193);
    return this.#guard((hash >>> 0) % guardCount);
  }

  /** The directories above a path, the nearest last, without the directory of all keys. */
  directoriesAbove(path: string): readonly string[] {
    const above: string[] = [];
    for (let one = parentOf(path); one.length > this.top.length; one = parentOf(one)) above.unshift(one);
    return above;
  }

  /** The root, after all that it is in. */
  get parents(): readonly string[] {
    const names = parentOf(this.top).split("/").slice(1);
    return names.map((_, index) => `/${names.slice(0, index + 1).join("/")}`);
  }

  /** What must be there before anything else, below the root. */
  get groundwork(): readonly string[] {
    return [
      this.clock,
      this.top,
      this.#guards,
      ...Array.from({ length: guardCount }, (_, number) => this.#guard(number)),
    ];
  }

  #directory(segments: readonly string[]): string {
    return this.top + segments.map((segment) => `/d${encodeURIComponent(segment)}`).join("");
  }

  #guard(number: number): string {
    return `${this.#guards}/${number}`;
  }
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

/** What of a directory's children belongs to a stretch, by key. Below the first directory, `rest` is empty. */
export function childrenOf({ directory, above, rest }: Stretch, names: readonly string[]): readonly Child[] {
  return names.flatMap((name): Child[] => {
    const kind = name[0];
    const segment = kind === "d" || kind === "v" ? decoded(name.slice(1)) : undefined;
    // What is nobody's of ours, somebody made by hand.
    if (segment === undefined || !segment.startsWith(rest)) return [];
    const isDirectory = kind === "d";
    return [{ path: `${directory}/${name}`, key: above + segment + (isDirectory ? "/" : ""), isDirectory }];
  });
}

function decoded(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

/** Creates a node whose version is at least 1, since the client could not tell a check of version 0 from none. */
export function creation(path: string, data: Buffer = nothing, ephemeral = false): readonly MultiOp[] {
  return [
    { create: path, ephemeral },
    { set: path, data },
  ];
}
