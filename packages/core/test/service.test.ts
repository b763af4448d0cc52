import { connect, type Instance, type Snapshot } from "@conclave/core";
import { encode, WatchFeed } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { failure, outcome, world } from "./kit.ts";

async function connected() {
  const here = await world();
  const warnings: string[] = [];
  const conclave = await connect(here.backend, { onWarning: (warning) => void warnings.push(warning) });
  return { ...here, conclave, neighbour: await connect(here.other), warnings };
}

describe("the instances of a service", () => {
  test("are those of that service alone, or of all below it, whatever its name", async () => {
    const { conclave, neighbour } = await connected();
    for (const name of ["a", "a/b", "ab", "100%", "é", "a.b", "%2F"]) {
      await conclave.service(name).register({ address: `${name}:1`, id: "x/y" });
    }
    for (const name of ["a", "a/b", "ab", "100%", "é", "a.b", "%2F"]) {
      const { snapshot } = await neighbour.service(name).instances();
      expect(snapshot.instances).toMatchObject([{ service: name, id: "x/y", address: `${name}:1` }]);
    }
    const below = await neighbour.service("a").instances({ recursive: true });
    expect(below.snapshot.instances.map(({ service }) => service)).toEqual(["a", "a/b"]);
  });

  test("leave out what is no instance", async () => {
    const { conclave, other } = await connected();
    await other.kv.commit({ then: [{ put: "service/a/x", value: encode("not JSON") }] });
    await conclave.service("a").register({ address: "a:1", id: "y" });
    expect((await conclave.service("a").instances()).snapshot.instances.map(({ id }) => id)).toEqual(["y"]);
  });

  test("are watched until the reader leaves, its signal aborts or the conclave closes", async () => {
    const { clock, conclave, neighbour } = await connected();
    const seen: number[] = [];
    for await (const { instances } of conclave.service("a").watch()) {
      seen.push(instances.length);
      if (instances.length === 2) break;
      await neighbour.service("a").register({ address: "a:1" });
    }
    expect(seen).toEqual([0, 1, 2]);
    const controller = new AbortController();
    const readers = [controller.signal, undefined].map((signal) =>
      outcome(
        (async () => {
          for await (const _ of conclave.service("a").watch({ signal }));
        })(),
      ),
    );
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    await conclave.close();
    await neighbour.close();
    await clock.advance(0);
    expect(readers.map(({ error }) => error)).toMatchObject(["enough", { code: "CLOSED" }]);
    expect(clock.pendingTimers).toBe(0);
  });

  test("call back for each that starts, changes and stops, until disposed, whatever a callback throws", async () => {
    const { clock, conclave, neighbour, warnings } = await connected();
    const instances = await conclave.service("a").instances();
    const told: string[] = [];
    const tell = (what: string) => (instance: Instance) => {
      told.push(`${what} ${instance.address}`);
      if (instance.address === "a:1") throw Symbol("a callback's own");
    };
    const subscription = instances.subscribe({ started: tell("+"), changed: tell("~"), stopped: tell("-") });
    const one = await neighbour.service("a").register({ address: "a:1", id: "x" });
    await clock.advance(0);
    await one.update({ address: "a:2" });
    await clock.advance(0);
    await one.update({ address: "a:2" }); // says nothing new
    await clock.advance(0);
    await one.deregister();
    await clock.advance(0);
    expect(told).toEqual(["+ a:1", "~ a:2", "- a:2"]);
    expect(warnings).toHaveLength(1);
    subscription[Symbol.dispose]();
    await Promise.all(["y", "z"].map((id) => neighbour.service("b").register({ address: `b:${id}`, id })));
    const once = (await conclave.service("b").instances()).subscribe({
      started: ({ address }) => {
        told.push(`once ${address}`);
        once[Symbol.dispose]();
      },
    });
    await clock.advance(0);
    expect(told.splice(3)).toEqual(["once b:y"]);
    await neighbour.service("a").register({ address: "a:3" });
    await clock.advance(0);
    expect(told).toHaveLength(3);
  });

  test("are the last known, and stale, while the store is away", async () => {
    const { clock, client, conclave, neighbour } = await connected();
    await neighbour.service("a").register({ address: "a:1" });
    const instances = await conclave.service("a").instances();
    const snapshots: Snapshot[] = [];
    void (async () => {
      for await (const snapshot of instances) snapshots.push(snapshot);
    })();
    client.disconnect();
    await clock.advance(10_000);
    expect(instances.snapshot).toMatchObject({ stale: true, instances: [{ address: "a:1" }] });
    expect(instances.pick("random")?.instance.address).toBe("a:1");
    client.reconnect();
    await clock.advance(7_000);
    expect(snapshots.map(({ stale }) => stale)).toEqual([false, true, false]);
    await instances[Symbol.asyncDispose]();
  });

  test("say that they are stale once their view has ended, and warn whoever relies on callbacks if it failed", async () => {
    const { clock, backend, conclave, neighbour, warnings } = await connected();
    await neighbour.service("a").register({ address: "a:1" });
    const feed = new WatchFeed(() => {});
    backend.fault = async ({ name }, proceed) => (name === "watch" ? feed : proceed());
    const instances = await conclave.service("a").instances();
    using _subscription = instances.subscribe({});
    await clock.advance(0);
    expect(instances.snapshot.stale).toBe(false);
    feed.fail(failure("DENIED"));
    await clock.advance(0);
    expect(instances.snapshot).toMatchObject({ stale: true, instances: [{ address: "a:1" }] });
    expect(warnings).toEqual([expect.stringMatching(/^the view of a ended, .*DENIED/)]);
    const disposed = await neighbour.service("a").instances();
    disposed.subscribe({});
    await disposed[Symbol.asyncDispose]();
    await clock.advance(0);
    expect(disposed.snapshot.stale).toBe(true);
    expect(warnings).toHaveLength(1);
  });
});
