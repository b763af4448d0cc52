import { checkFunction, checkOptions, wrongType } from "../../arguments.ts";
import { compareKeys } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, type WaitOptions } from "../../context.ts";
import { inWords } from "../../errors.ts";
import { decodeJson, encodeJson, type Json } from "../../json.ts";
import { KeptKey, keptKeys } from "../../kept-key.ts";
import { tellNews } from "../../news.ts";
import type { Entry, Revision } from "../../ports/kv.ts";
import { Replica, type View } from "../../replica.ts";
import { tokenOf } from "../../token.ts";
import { Seat } from "./seat.ts";

/** How to join. `signal` gives the attempt up. */
export interface JoinOptions extends WaitOptions {
  /** What the others are to know of this member: anything that JSON can carry, about 512 KiB of it; null by default. */
  readonly payload?: Json | undefined;
}

/** Someone in the group, as the store has it. */
export interface Member {
  /** Its seat's id, which no other has. */
  readonly id: string;
  /** What it last said of itself. */
  readonly payload: Json;
  /** Grows with every one who comes, and members stand in its order. One that was lost and came back has a larger one. */
  readonly token: bigint;
  /** Whether it is a seat of this very conclave. Only who is in the store is shown, oneself as well. */
  readonly self: boolean;
}

/** The members, as they were at one revision. */
export interface Roster {
  /** Whoever came first stands first: all processes see the same order. */
  readonly members: readonly Member[];
  /** At least all that was committed up to this revision is shown. */
  readonly revision: Revision;
  /**
   * The store does not answer, which is noticed within about eight seconds, or the view has ended: these are the last that
   * were known.
   */
  readonly stale: boolean;
}

/** What to do when a member comes, says something else, or goes. Each is called without being waited for. */
export interface MemberCallbacks {
  /** It is there; also called at first for those that were there before, and for one that was lost and came back. */
  joined?(member: Member): void;
  /** Its payload is not that of `before`; its place is. */
  changed?(member: Member, before: Member): void;
  /** It is gone: it left, or its lease ended. Not called because the store is away. */
  left?(member: Member): void;
}

/**
 * A group of processes that know each other. A member is a key `membership/<name>/<id>` that is kept on its process's lease
 * (see `kept-key.ts`), and its value is the payload. The store's creation revisions order the members, so that all
 * processes see the same sequence, and each can take its turn, its share or its number from it.
 */
export class Membership {
  readonly #context: Context;
  readonly #prefix: string;

  constructor(context: Context, name: Name) {
    this.#context = context;
    this.#prefix = roomyPrefixOf("membership", name, context.backend.limits);
  }

  /**
   * Joins, and stays until the seat is left: over lost sessions too, in the same place if the next session opens before the
   * lost one's lease ended, and behind everybody else if not. One round trip, once there is a session. A process that joins
   * twice is two members.
   *
   * Rejects with `signal.reason`, with `UNAVAILABLE` when the store does not answer, with `LEASE_LOST` when the session
   * ends first, with `CLOSED`, and with `LIMIT` or `DENIED` as the store says; who may have joined all the same is then taken
   * away again.
   */
  async join(options: JoinOptions = {}): Promise<Seat> {
    checkOptions("join", options, ["payload", "signal"]);
    const { payload = null, signal } = options;
    const value = encodeJson("payload", payload);
    const id = this.#context.backend.clock.id();
    const keeping = { key: this.#prefix + id, what: `the member ${id}`, value, encode: (bytes: Uint8Array) => bytes };
    return new Seat(this.#context, id, await KeptKey.open(this.#context, keeping, { signal }));
  }

  /**
   * A live view of the members, current when it resolves; dispose it when done. `signal` ends it. Needs no session, and
   * one who only looks on is no member. Rejects with `UNAVAILABLE` when the store does not answer, with `signal.reason`,
   * `CLOSED`, or `DENIED` as the store says. After that an outage makes it stale, and does not end it.
   */
  async members(options: WaitOptions = {}): Promise<Members> {
    checkOptions("members", options, ["signal"]);
    const { backend, closed } = this.#context;
    const until = [options.signal, closed];
    return new Members(this.#context, await Replica.open(backend, this.#prefix, ...until), until);
  }

  /**
   * The members, and again whenever they change or become stale. Newest wins: a slow reader skips states. Leaving the loop
   * ends it. Rejects as `members` does, and when its view ends.
   */
  async *watch(options: WaitOptions = {}): AsyncGenerator<Roster, void, undefined> {
    await using members = await this.members(options);
    yield* members;
  }
}

/**
 * A live view of a group (see `replica.ts`): by `snapshot`, by iteration, by callbacks. It ends when it is disposed, its
 * signal aborts, the conclave closes, or the store refuses it for good.
 */
export class Members implements AsyncIterable<Roster>, AsyncDisposable {
  readonly #context: Context;
  readonly #replica: Replica;
  readonly #until: readonly (AbortSignal | undefined)[];
  #latest: { readonly view: View; readonly roster: Roster } | undefined;

  /** Of a replica of the group's prefix, and what ends that. */
  constructor(context: Context, replica: Replica, until: readonly (AbortSignal | undefined)[]) {
    this.#context = context;
    this.#replica = replica;
    this.#until = until;
  }

  /** The newest roster; the same object until something changes. No I/O. */
  get snapshot(): Roster {
    return this.#rosterOf(this.#replica.view);
  }

  /**
   * Waits until it shows all that was committed up to a revision, as `Replica.reached` does and rejects; gives the first
   * roster that does.
   */
  async reached(revision: Revision, options: WaitOptions = {}): Promise<Roster> {
    return this.#rosterOf(await this.#replica.reached(revision, options));
  }

  /**
   * Yields the roster and then each newer one. Ends when the view is disposed; rejects with `signal.reason` or `CLOSED`
   * when it ended by those, and with why the store refused it otherwise.
   */
  [Symbol.asyncIterator](): AsyncGenerator<Roster, void, undefined> {
    return this.#rosters();
  }

  /**
   * Calls back for every member there is, in order, and then for each that comes, changes or goes, until disposed. What a
   * callback throws goes to the conclave's `onWarning`, and the next is called all the same; so does why the view ended, if
   * the store refused it for good. Throws `TypeError` for what are no callbacks.
   */
  subscribe(callbacks: MemberCallbacks): Disposable {
    if (typeof callbacks !== "object" || callbacks === null)
      throw wrongType("callbacks of subscribe", callbacks, "an object");
    checkOptions("subscribe", callbacks, ["joined", "changed", "left"]);
    for (const [name, callback] of Object.entries(callbacks))
      if (callback !== undefined) checkFunction(`${name} of subscribe`, callback);
    const { joined, changed, left } = callbacks;
    return tellNews({
      states: (until) => this.#rosters(until),
      // One that came back is another: its place is.
      items: ({ members }) => new Map(members.map((member) => [`${member.id} ${member.token}`, member])),
      same: (one, other) => JSON.stringify(one.payload) === JSON.stringify(other.payload),
      callbacks: {
        came: (member) => joined?.call(callbacks, member),
        changed: (member, before) => changed?.call(callbacks, member, before),
        went: (member) => left?.call(callbacks, member),
      },
      failed: (error) => this.#context.warn(`a callback of subscribe failed: ${inWords(error)}`),
      ended: (reason) => {
        if (this.#until.some((signal) => signal?.aborted)) return;
        this.#context.warn(`a view of members ended, and its callbacks are called no more: ${inWords(reason)}`);
      },
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#replica[Symbol.asyncDispose]();
  }

  async *#rosters(until?: AbortSignal): AsyncGenerator<Roster, void, undefined> {
    for await (const view of this.#replica.views(until)) yield this.#rosterOf(view);
  }

  #rosterOf(view: View): Roster {
    const latest = this.#latest;
    if (latest?.view === view) return latest.roster;
    const same = latest?.view.entries === view.entries;
    const members = same
      ? latest.roster.members
      : membersOf(this.#context, this.#replica.prefix, view.entries.values());
    const roster = { members, revision: view.revision, stale: view.stale };
    this.#latest = { view, roster };
    return roster;
  }
}

/** Who the entries say is a member, whoever came first standing first. */
function membersOf(context: Context, prefix: string, entries: Iterable<Entry>): readonly Member[] {
  const kept = keptKeys(context);
  return [...entries]
    .sort((one, other) => Number(one.created - other.created) || compareKeys(one.key, other.key))
    .flatMap((entry) => {
      const payload = payloadOf(entry);
      const { key, created } = entry;
      if (payload === undefined) return [];
      return [{ id: key.slice(prefix.length), payload, token: tokenOf(created), self: kept.has(key) }];
    });
}

/** What a member said of itself; undefined where somebody else wrote what is no JSON. */
function payloadOf(entry: Entry): Json | undefined {
  try {
    return decodeJson(entry);
  } catch {
    return undefined;
  }
}
