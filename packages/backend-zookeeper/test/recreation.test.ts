import { type Backend, encode, type Lease, systemClock } from "@conclave/core/backend";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { zookeeperServers } from "../../../test/harness/servers.ts";
import { Deadline } from "../src/deadline.ts";
import { zookeeper } from "../src/index.ts";
import { ZooKeeperKv } from "../src/kv.ts";
import { Layout, parentOf } from "../src/layout.ts";
import { Link, type MultiAnswer, type MultiOp } from "../src/link.ts";
import { settingsFrom } from "../src/options.ts";
import { Reader } from "../src/reader.ts";
import { Sightings } from "../src/sightings.ts";
import { Sweeper } from "../src/sweeper.ts";

const root = "/recreation";

/** Holds back every multi that writes, between the look it rests on and the server, until it is let through. */
class HeldLink extends Link {
  meanwhile: (() => Promise<void>) | undefined;

  override async multi(ops: readonly MultiOp[], call?: Parameters<Link["multi"]>[1]): Promise<MultiAnswer> {
    const act = this.meanwhile;
    if (ops.length > 1 && act) {
      this.meanwhile = undefined;
      await act();
    }
    return super.multi(ops, call);
  }
}

/** As if no creation were written down anywhere: what is checked instead never changes. */
class UnguardedLayout extends Layout {
  override guard(path: string): string {
    return parentOf(super.guard(path));
  }
}

for (const server of zookeeperServers()) {
  describe(`fenced writes on ${server.name}`, () => {
    let opened: { readonly servers: readonly string[] } & AsyncDisposable;
    let other: Backend;
    const links: HeldLink[] = [];
    const sweepers: Sweeper[] = [];

    beforeAll(async () => {
      opened = await server.open();
      other = await zookeeper({ servers: opened.servers, root }).connect();
    });
    afterAll(async () => {
      for (const sweeper of sweepers) await sweeper.finish(new Deadline(systemClock, {}, 100));
      for (const link of links) link.abandon();
      await other[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
    });

    function fencing(layout: Layout): { readonly link: HeldLink; readonly kv: ZooKeeperKv } {
      const settings = settingsFrom({ servers: opened.servers, root });
      const horizon = { zxid: 0n };
      const link = new HeldLink({ ...settings, horizon, sessionTimeoutMs: 10_000, lasting: true });
      links.push(link);
      const sightings = new Sightings();
      const reader = new Reader(link, layout, sightings, systemClock);
      const sweeper = new Sweeper(link, layout, { ...settings, restMs: 60_000 });
      sweepers.push(sweeper);
      return {
        link,
        kv: new ZooKeeperKv({ link, linkOf: () => undefined, layout, reader, sweeper, sightings }, settings),
      };
    }

    /** How many of so many writes got through though what they were fenced by was gone, and made anew, before they were sent. */
    async function slippedThrough(layout: Layout, rounds: number, by: "created" | "modified"): Promise<number> {
      const { link, kv } = fencing(layout);
      let slipped = 0;
      let raced = 0;
      for (let round = 0; round < rounds; round += 1) {
        const key = `fence/${round % 7}`;
        const { revision } = await other.kv.commit({ then: [{ put: key, value: encode("old") }] });
        const created = (await other.kv.get(key))?.created ?? 0n;
        link.meanwhile = async () => {
          raced += 1;
          await other.kv.commit({ then: [{ delete: key }] });
          await other.kv.commit({ then: [{ put: key, value: encode("new") }] });
        };
        const condition = by === "created" ? { key, created } : { key, modified: revision };
        const { succeeded } = await kv.commit({ if: [condition], then: [{ put: `fenced/${key}`, value: encode("") }] });
        if (succeeded) slipped += 1;
        await other.kv.commit({ then: [{ delete: key }] });
      }
      expect(raced).toBe(rounds);
      return slipped;
    }

    for (const by of ["created", "modified"] as const) {
      test(`keeps out all of 100 that rest on ${by}, when their key is deleted and made anew behind the look`, async () => {
        expect(await slippedThrough(new Layout(root), 100, by)).toBe(0);
      });

      test(`would let all of 20 through that rest on ${by}, if creations were not written down`, async () => {
        expect(await slippedThrough(new UnguardedLayout(root), 20, by)).toBe(20);
      });
    }

    /** The same where the key goes with its session, so that whoever deletes it can write nothing down. */
    async function slippedAfterExpiry(layout: Layout, count: number): Promise<number> {
      const outcomes = Array.from({ length: count }, async (_, index) => {
        const { link, kv } = fencing(layout);
        const key = `leased/${index}`;
        const lease: Lease = await other.leases.grant({ ttlMs: 1 });
        await other.kv.commit({ then: [{ put: `fenced/${key}`, value: encode("") }] });
        const { revision: created } = await other.kv.commit({ then: [{ put: key, value: encode("old"), lease }] });
        link.meanwhile = async () => {
          const watch = await other.watches.watch({ key });
          if (await other.kv.get(key)) for await (const batch of watch) if (!("gap" in batch)) break;
          await watch[Symbol.asyncDispose]();
          await other.kv.commit({ then: [{ put: key, value: encode("new") }] });
        };
        const { succeeded } = await kv.commit({
          if: [{ key, created }],
          then: [{ put: `fenced/${key}`, value: encode("") }],
        });
        expect(link.meanwhile).toBeUndefined();
        await other.kv.commit({ then: [{ delete: key }] });
        return succeeded;
      });
      return (await Promise.all(outcomes)).filter((succeeded) => succeeded).length;
    }

    test("keeps out all of 25 whose key went with its session and was made anew behind the look", async () => {
      expect(await slippedAfterExpiry(new Layout(root), 25)).toBe(0);
    });

    test("would let all of 25 through there, if creations were not written down", async () => {
      expect(await slippedAfterExpiry(new UnguardedLayout(root), 25)).toBe(25);
    });
  });
}
