import { type Backend, decode, type Entry, encode, type Operation, seededRandom } from "@conclave/core/backend";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { zookeeperEnsembles, zookeeperServers } from "../../../test/harness/servers.ts";
import { zookeeper } from "../src/index.ts";

type State = Readonly<Record<string, string>>;

/** All that one writer wrote, so that what was there at any revision is known. */
class History {
  readonly #states: { readonly revision: bigint; readonly state: State }[] = [{ revision: 0n, state: {} }];

  write(revision: bigint, changes: Readonly<Record<string, string | undefined>>): void {
    const state = { ...this.#states.at(-1)?.state, ...changes };
    const there = Object.entries(state).filter(([, text]) => text !== undefined) as [string, string][];
    this.#states.push({ revision, state: Object.fromEntries(there) });
  }

  /** What was there at one revision or another, from this one on. */
  from(revision: bigint): readonly State[] {
    return [this.at(revision), ...this.#states.filter((one) => one.revision > revision).map(({ state }) => state)];
  }

  at(revision: bigint): State {
    return this.#states.findLast((one) => one.revision <= revision)?.state ?? {};
  }
}

function stateOf(entries: Iterable<Entry>): State {
  return Object.fromEntries([...entries].map(({ key, value }) => [key, decode(value)]));
}

for (const place of [...zookeeperServers(), ...zookeeperEnsembles()]) {
  describe(`cuts of ${place.name}`, () => {
    let opened: { readonly servers: readonly string[] } & AsyncDisposable;
    const clients: Backend[] = [];
    const connect = async (nth: number) => {
      const { servers } = opened;
      // Each on a server of its own, if there are so many.
      const client = await zookeeper({ servers: [servers[nth % servers.length] as string] }).connect();
      clients.push(client);
      return client;
    };
    beforeAll(async () => {
      opened = await place.open();
    });
    afterAll(async () => {
      for (const client of clients) await client[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
    });

    test("lists show what was there at the very revision that they name, and watches what was there together", async () => {
      const prefix = "cuts/";
      const writer = await connect(0);
      const readers = await Promise.all([1, 2].map(connect));
      const history = new History();
      let isWriting = true;
      const random = seededRandom(5);
      const keys = ["a", "b", "c", "d/e", "d/f", "g"].map((name) => prefix + name);
      const writing = (async () => {
        for (let round = 0; round < 250; round += 1) {
          const changes: Record<string, string | undefined> = {};
          for (let count = 1 + Math.floor(random() * 3); count > 0; count -= 1) {
            changes[keys[Math.floor(random() * keys.length)] as string] = random() < 0.4 ? undefined : `${round}`;
          }
          const then = Object.entries(changes).map(
            ([key, text]): Operation => (text === undefined ? { delete: key } : { put: key, value: encode(text) }),
          );
          const { revision } = await writer.kv.commit({ then });
          history.write(revision, changes);
        }
        isWriting = false;
      })();
      const lists: { revision: bigint; state: State }[] = [];
      const snapshots: { revision: bigint; state: State }[] = [];
      const folds: { revision: bigint; state: State }[] = [];
      await Promise.all(
        readers.map(async ({ kv, watches }) => {
          const last: { state: State } = { state: {} };
          const watch = await watches.watch({ prefix });
          const { entries, revision } = await kv.list(prefix);
          const folding = (async () => {
            const state = { ...stateOf(entries) };
            for await (const batch of watch) {
              if ("gap" in batch || batch.revision <= revision) continue;
              for (const { key, modified, entry } of batch.changes) {
                if (modified <= revision) continue;
                if (entry) state[key] = decode(entry.value);
                else delete state[key];
              }
              last.state = { ...state };
              folds.push({ revision: batch.revision, state: last.state });
            }
          })();
          while (isWriting) {
            const listing = await kv.list(prefix);
            lists.push({ revision: listing.revision, state: stateOf(listing.entries) });
            const { results, readAt } = await kv.commit({
              then: [{ get: keys[0] as string }, { list: `${prefix}d/` }, { list: `${prefix}b` }],
            });
            const [one, ...parts] = results;
            const seen = [...(one ? [one] : []), ...parts.flatMap(({ entries }) => entries)];
            snapshots.push({ revision: readAt, state: stateOf(seen) });
          }
          await eventually(async () => {
            expect(last.state).toEqual(history.at(2n ** 62n));
            return true;
          });
          await watch[Symbol.asyncDispose]();
          await folding;
        }),
      );
      await writing;
      expect(lists.length).toBeGreaterThan(20);
      expect(folds.length).toBeGreaterThan(20);
      for (const { revision, state } of lists) expect(state, `list at ${revision}`).toEqual(history.at(revision));
      const isPart = ([key]: [string, string]) => key === keys[0] || /\/d\/|\/b$/.test(key);
      for (const { revision, state } of snapshots) {
        const wanted = Object.fromEntries(Object.entries(history.at(revision)).filter(isPart));
        expect(state, `transaction at ${revision}`).toEqual(wanted);
      }
      // A cut that shows puts alone has the revision of the last of them, and may be a later one.
      for (const { revision, state } of folds)
        expect(history.from(revision), `watch at ${revision}`).toContainEqual(state);
    }, 60_000);
  });
}
